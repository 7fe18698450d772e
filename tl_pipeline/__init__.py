"""Transfer learning on cached features.

Run a dataset once through a frozen, pretrained Flax backbone, cache the features in an
HDF5 store, and train heads on the store in seconds:

    import tl_pipeline as tl

    dataset = tl.load_dataset("photos/")
    backbone = tl.load_backbone("mobilenet_v2", weights="w.h5")
    report = tl.extract(dataset, backbone, features=["pool"], store_root="stores")
    run = tl.train(report.store, run_root="runs")

Names load on first use, so that importing the package, or listing stores, takes no
longer than it must.
"""

import importlib

_HOMES = {
    "extract": "tl_pipeline.stages.extract",
    "load_backbone": "tl_pipeline.stages.backbones",
    "load_dataset": "tl_pipeline.data.sources",
    "load_run": "tl_pipeline.runs.run",
    "open_store": "tl_pipeline.store.store",
    "predict": "tl_pipeline.stages.predict",
    "train": "tl_pipeline.stages.train",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
