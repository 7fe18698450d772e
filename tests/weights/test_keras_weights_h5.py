from pathlib import Path

import h5py
import numpy as np
import pytest

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.reading import load_tensors

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.weights.h5"


# NumPy warns of how h5py asks Keras for an array.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_model_that_keras_saved_gives_its_tensors_in_their_order(path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    import keras

    inner = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.DepthwiseConv2D(3)])
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 1, name="my_own_name"),
            keras.layers.BatchNormalization(),
            inner,
            keras.layers.Conv2D(2, 1),
            keras.layers.Dropout(0.5, seed=3),
        ]
    )
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(w.shape, np.float32) for w in model.get_weights()]
    model.set_weights(weights)
    model.save_weights(path)
    tensors = load_tensors(path)
    assert tensors.format == "keras-weights-h5"
    names = [
        *(f"layers/conv2d/vars/{i}" for i in range(2)),
        *(f"layers/batch_normalization/vars/{i}" for i in range(4)),
        *(f"layers/sequential/layers/depthwise_conv2d/vars/{i}" for i in range(2)),
        *(f"layers/conv2d_1/vars/{i}" for i in range(2)),
    ]
    assert set(tensors.arrays) == set(names)
    for name, array in zip(names, weights, strict=True):
        np.testing.assert_array_equal(tensors.arrays[name], array)


def test_an_optimizer_and_random_states_are_left_out(path):
    with h5py.File(path, "w") as file:
        for name in ("layers/dense/vars/0", "optimizer/vars/0", "vars/0"):
            file[name] = KERNEL
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)
    assert set(load_tensors(path).arrays) == {"layers/dense/vars/0", "vars/0"}


def test_the_older_name_of_the_layers_is_the_same(path):
    with h5py.File(path, "w") as file:
        file["_layer_checkpoint_dependencies/dense/vars/0"] = KERNEL
    assert list(load_tensors(path).arrays) == ["layers/dense/vars/0"]


def test_one_tensor_under_both_names_is_refused(path):
    with h5py.File(path, "w") as file:
        file["_layer_checkpoint_dependencies/dense/vars/0"] = KERNEL
        file["layers/dense/vars/0"] = KERNEL
    with pytest.raises(WeightsError, match="layers/dense/vars/0: it is there twice"):
        load_tensors(path)


def test_links_out_of_the_file_are_refused(path):
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = h5py.ExternalLink("secret.h5", "/kernel")
    with pytest.raises(WeightsError, match="/layers/dense/vars/0: .*ExternalLink"):
        load_tensors(path)
