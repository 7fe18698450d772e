"""The real SqueezeNet 1.1 of keras-squeezenet, where the environment has it."""

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.store.store import open_store


def test_its_features_tell_ants_from_bees(realdata: Path, tmp_path: Path):
    name = "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"
    backbone = load_backbone("keras_squeezenet1_1", weights=realdata / "weights" / name)
    assert backbone.weights_origin["license"] == "MIT"
    assert backbone.preprocess.color == "bgr"
    report = extract(
        load_dataset(realdata / "images" / "hymenoptera", exclude=["*.gif"]),
        backbone,
        features=["pool"],
        store_root=tmp_path,
    )
    store = open_store(report.store)
    train, test = (store.read("pool", split=split) for split in ("train", "test"))
    # The strength is chosen inside train by its loss, as heads are.
    regression = LogisticRegressionCV(
        Cs=np.logspace(-4, 1, 6),
        cv=5,
        scoring="neg_log_loss",
        max_iter=1000,
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )
    head = make_pipeline(StandardScaler(), regression)
    head.fit(np.asarray(train.features, np.float64), train.targets)
    predicted = head.predict(np.asarray(test.features, np.float64))
    accuracy = np.mean(predicted == test.targets)
    assert len(test.targets) == 153
    assert accuracy >= 0.90, accuracy
