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
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers and editors see
    from tl_pipeline.backbones.own import OwnBackbone
    from tl_pipeline.data.sources import load_dataset
    from tl_pipeline.preprocess import ImagePreprocess
    from tl_pipeline.runs.run import load_run
    from tl_pipeline.stages.backbones import load_backbone
    from tl_pipeline.stages.compare_runs import compare_runs
    from tl_pipeline.stages.extract import extract
    from tl_pipeline.stages.finetune import finetune
    from tl_pipeline.stages.import_features import import_features
    from tl_pipeline.stages.own_backbones import save_weights
    from tl_pipeline.stages.predict import predict
    from tl_pipeline.stages.promote import promote, rollback
    from tl_pipeline.stages.rank import rank_stores
    from tl_pipeline.stages.shift import measure_shift
    from tl_pipeline.stages.train import train
    from tl_pipeline.stages.views import make_views
    from tl_pipeline.store.store import open_store

_HOMES = {
    "ImagePreprocess": "tl_pipeline.preprocess",
    "OwnBackbone": "tl_pipeline.backbones.own",
    "compare_runs": "tl_pipeline.stages.compare_runs",
    "extract": "tl_pipeline.stages.extract",
    "finetune": "tl_pipeline.stages.finetune",
    "import_features": "tl_pipeline.stages.import_features",
    "load_backbone": "tl_pipeline.stages.backbones",
    "load_dataset": "tl_pipeline.data.sources",
    "load_run": "tl_pipeline.runs.run",
    "make_views": "tl_pipeline.stages.views",
    "measure_shift": "tl_pipeline.stages.shift",
    "open_store": "tl_pipeline.store.store",
    "predict": "tl_pipeline.stages.predict",
    "promote": "tl_pipeline.stages.promote",
    "rank_stores": "tl_pipeline.stages.rank",
    "rollback": "tl_pipeline.stages.promote",
    "save_weights": "tl_pipeline.stages.own_backbones",
    "train": "tl_pipeline.stages.train",
}

__all__ = [
    "ImagePreprocess",
    "OwnBackbone",
    "compare_runs",
    "extract",
    "finetune",
    "import_features",
    "load_backbone",
    "load_dataset",
    "load_run",
    "make_views",
    "measure_shift",
    "open_store",
    "predict",
    "promote",
    "rank_stores",
    "rollback",
    "save_weights",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
