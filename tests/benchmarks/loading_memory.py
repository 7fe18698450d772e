"""Peak memory of loading a backbone, as a multiple of its file, by format.

A process that has done all but read the file is the baseline: what it took at its peak
is subtracted. Prints a line a format.

    python tests/benchmarks/loading_memory.py [BACKBONE ...]
"""

import math
import resource
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import save_file

from tl_pipeline.backbones.registry import make_architecture

_BYTES = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss' unit
FORMATS = (  # and the layouts that are published in them
    ("safetensors", ("timm", "torch", "torchvision")),
    ("pth", ("torchvision", "torch")),
    ("h5", ("keras-h5",)),
)


def make_tensors(name: str, layout: str) -> dict[str, np.ndarray]:
    """Returns seeded tensors under a layout's names, in the file's shapes.

    Args:
      name: A backbone's name.
      layout: One of its, whose rules take a tensor each.
    """
    from tl_pipeline.backbones.network import network_shapes

    architecture = make_architecture(name)
    shapes = network_shapes(architecture, architecture.classes)
    noise = np.random.default_rng(0).standard_normal(2**16).astype(np.float32) / 100
    tensors: dict[str, np.ndarray] = {}
    done = {""}
    for source, target, transform in architecture.key_rules[layout]:
        if target in done:
            continue
        done.add(target)
        assert isinstance(source, str)
        shape = shapes[target]
        if transform.startswith("torch-flat"):
            shape = (shape[-1], math.prod(shape[:-1]))
        elif transform.startswith("flat"):
            shape = (math.prod(shape[:-1]), shape[-1])
        elif transform == "torch-pixel":
            shape = (shape[-1], shape[-2], 1, 1)
        elif transform == "torch" and len(shape) > 1:
            shape = (shape[-1], shape[-2], *shape[:-2])
        elif transform == "pixel":
            shape = (1, 1, *shape)
        tensors[source] = np.abs(np.resize(noise, shape))
    return tensors


def write_h5(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes Keras' legacy layout."""
    layers = dict.fromkeys(name.partition("/")[0] for name in tensors)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer in layers:
            names = [n for n in tensors if n.startswith(f"{layer}/")]
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{n}:0".encode() for n in names]
            for name in names:
                group[f"{name}:0"] = tensors[name]


def write_pth(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes what `torch.save` of a state_dict does."""
    parts = [b"\x80\x02}("]
    for key, (name, array) in enumerate(tensors.items()):
        strides = [math.prod(array.shape[i + 1 :]) for i in range(array.ndim)]
        parts += [
            _text(name),
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            _text("storage"),
            b"ctorch\nFloatStorage\n",
            *(_text(str(key)), _text("cpu"), _number(array.size), b"tQ"),
            *(_number(0), b"(", *map(_number, array.shape), b"t"),
            *(b"(", *map(_number, strides), b"t"),
            b"\x89ccollections\nOrderedDict\n)RtR",
        ]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", b"".join([*parts, b"u."]))
        for key, array in enumerate(tensors.values()):
            file.writestr(f"archive/data/{key}", array.tobytes())


def write_file(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes tensors in the format that the path's name says."""
    if path.suffix == ".safetensors":
        save_file(dict(tensors), path)
    else:
        {".h5": write_h5, ".pth": write_pth}[path.suffix](path, tensors)


def measure_loading(name: str, path: Path) -> float:
    """Returns the peak memory of a process that loads a file, as multiple of the file.

    Less the peak of its own that it had before, with everything imported.
    """
    return int(_run("--load", name, str(path))) / path.stat().st_size


def _run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, __file__, *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def _number(number: int) -> bytes:
    return b"J" + number.to_bytes(4, "little")


def _load(name: str, path: str) -> None:
    import jax.numpy as jnp

    import tl_pipeline as tl
    from tl_pipeline.backbones.network import outline_network

    # The compiler, the tracer and the readers are warm; so is a small network.
    outline_network(make_architecture(name))
    tl.load_backbone("digits_cnn").make_forward(["pool"])(
        np.zeros((1, 16, 16, 1), np.uint8)
    )["pool"].block_until_ready()
    jnp.zeros(3).block_until_ready()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    backbone = tl.load_backbone(name, weights=path)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del backbone
    print((after - before) * _BYTES)


def main(names: list[str]) -> None:
    """Measures each backbone in each format that it is published in."""
    for name in names:
        layouts = make_architecture(name).key_rules
        for suffix, known in FORMATS:
            layout = next((one for one in known if one in layouts), None)
            if layout is None:
                continue
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"weights.{suffix}"
                # A process starts with its parent's peak: this one stays small.
                _run("--write", name, layout, str(path))
                times = measure_loading(name, path)
                size = path.stat().st_size / 2**20
            print(f"{name}, {size:.0f} MiB .{suffix}: peak {times:.2f} x the file")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        _load(*sys.argv[2:])
    elif sys.argv[1:2] == ["--write"]:
        write_file(Path(sys.argv[4]), make_tensors(*sys.argv[2:4]))
    else:
        main(sys.argv[1:] or ["vgg16"])
