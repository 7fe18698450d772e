"""Fine-tuning of a small text network, from its texts and behind a cut."""

import csv
import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from tl_pipeline.backbones import bert, registry
from tl_pipeline.data.dataset import Dataset
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.data.tokenizing import PADDING
from tl_pipeline.errors import ConfigError, DatasetError, RequestError
from tl_pipeline.preprocess import TextPreprocess
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.backbones import load_backbone, load_trainable
from tl_pipeline.stages.extract import extract, items_by_content
from tl_pipeline.stages.finetune import finetune
from tl_pipeline.stages.finetune_inputs import CachedTokens, PreparedInputs
from tl_pipeline.stages.finetune_preview import preview_finetune
from tl_pipeline.stages.originals import Recorded, find_recorded, load_again
from tl_pipeline.stages.predict import predict
from tl_pipeline.stages.train import train
from tl_pipeline.store.store import open_store

WORDS = ("cat", "dog", "owl", "fox", "hen", "cow", "bee", "ant", "ram", "elk")
# A step or two an epoch.
QUICK = {
    "epochs": 6,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "head_learning_rate": 1e-2,
    "warmup": 0.0,
    "from_scratch_head": True,
}
FEATURES = ("layer2:mean", "layer1:mean")
# None is called by convention: whatever lists the table again has to know them.
COLUMNS = {"id": "key", "text": "body", "target": "kind"}


@pytest.fixture(autouse=True, scope="module")
def small():
    """BERT's table with a small row."""
    with pytest.MonkeyPatch.context() as patch:
        shape = bert.VARIANTS["minilm_l6"]._replace(
            width=32, depth=2, heads=4, vocabulary=300, positions=128
        )
        patch.setitem(bert.VARIANTS, "bert_tiny", shape)
        patch.setitem(registry._MODULES, "bert_tiny", bert.__name__)
        yield


def tiny(**options: Any) -> Any:
    return load_backbone("bert_tiny", weights="random:0", **options)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of two classes, by how often they say more."""
    path = tmp_path_factory.mktemp("data") / "orders.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS.values())
        for i, (a, b) in enumerate(itertools.permutations(WORDS, 2)):
            rest = " and more" * (i % 4)
            writer.writerow([f"r{i:03}", f"{a} before {b}{rest}", i % 4 > 1])
    return path


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("run")
    extracted = extract(
        load_dataset(table, columns=COLUMNS),
        tiny(),
        features=FEATURES,
        store_root=root / "stores",
        store_dtype="float32",
        batch_size=16,
    )
    return train(
        extracted.store, run_root=root / "runs", features=FEATURES[:1], l2=[1.0]
    ).run


@pytest.fixture(scope="module")
def tuned(run: str):
    return finetune(run, ways=["end-to-end", "split"], unfreeze=["layer2"], **QUICK)


def test_each_way_ends_in_a_run_that_takes_new_texts(tuned, table: Path) -> None:
    assert [row["way"] for row in tuned.rows] == ["cached head", "end-to-end", "split"]
    for row in tuned.rows[1:]:
        one = load_run(row["run"])
        losses = [e["val_loss"] for e in one.metrics["finetune"]["epochs"]]
        assert min(losses) < losses[0], "nothing was learned"
        # The tokenizer is in the file of weights: no folder is needed beside it.
        by_key = predict(one.path, table, columns={"text": "body", "id": "key"})
        predicted = {found.id: found for found in by_key}
        for id, label in zip(*read_test(one), strict=True):
            assert predicted[id].label == label


def read_test(run: Any) -> tuple[list[str], list[str]]:
    """Returns the test ids of a run, and what it predicted of them."""
    found = run.predictions()
    test = np.flatnonzero(np.asarray(found.splits) == "test")
    classes = run.metrics["classes"]
    outputs = np.asarray(found.outputs)[test]
    said = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    return [found.ids[i] for i in test], [classes[int(i)] for i in said]


def test_tables_are_listed_again_by_the_columns_that_the_run_knows(
    tuned, table: Path, tmp_path: Path
) -> None:
    one = load_run(tuned.rows[1]["run"])
    recorded = find_recorded(Path(str(one.provenance["store"])), "orders")
    assert recorded == Recorded(str(table), COLUMNS)
    again = load_again(recorded.source, recorded)
    assert again.items == load_dataset(table, columns=COLUMNS).items
    # New texts have no class, and their own way of being told apart.
    new = tmp_path / "new.csv"
    new.write_text("body,when\ncat before dog,Monday\nant before elk,Friday\n")
    assert [found.label in ("True", "False") for found in predict(one.path, new)] == [
        True,
        True,
    ]
    new.write_text("said\ncat before dog\n")
    with pytest.raises(DatasetError, match="no column 'path'"):
        predict(one.path, new)
    assert len(predict(one.path, new, columns={"text": "said"})) == 1
    # Of a folder of files nothing is looked for.
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("cat before dog")
    assert len(predict(one.path, tmp_path / "texts")) == 1


def test_what_is_frozen_stays_and_what_is_not_moves(tuned) -> None:
    network = load_trainable("bert_tiny", weights="random:0")
    blocks = network.blocks(["layer2:mean"])
    assert list(blocks) == ["layer0", "layer1", "layer2"]
    for row in tuned.rows[1:]:
        after = load_file(str(load_run(row["run"]).provenance["weights"]))
        for name, array in network.parameters.items():
            moved = after[name].tobytes() != array.tobytes()
            assert moved == (name in blocks["layer2"]), name


def test_split_without_dropping_is_end_to_end_on_cached_tokens(run: str) -> None:
    report = finetune(
        run,
        ways=["end-to-end", "split"],
        unfreeze=["layer2"],
        augment="none",
        **QUICK,
    )
    whole, split = (load_run(row["run"]) for row in report.rows[1:])
    assert split.metrics["finetune"]["cut"] == "layer1"
    left, right = (one.metrics["finetune"]["epochs"] for one in (whole, split))
    assert len(left) == len(right) == QUICK["epochs"] + 1
    for one, other in zip(left, right, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_dropping_tokens_is_another_training(run: str, tuned) -> None:
    report = finetune(
        run, unfreeze=["layer2"], augment_settings={"token_dropping": 0.5}, **QUICK
    )
    assert report.rows[1]["run"] != tuned.rows[1]["run"]
    left, right = (
        load_run(found.rows[1]["run"]).metrics["finetune"]["epochs"][1]["train_loss"]
        for found in (report, tuned)
    )
    assert left != right


def test_recomputing_blocks_gives_the_same_gradients() -> None:
    network = load_trainable("bert_tiny", weights="random:0")
    ids = jnp.asarray([[2, 7, 9, 4, -1, -1], [2, 5, 4, -1, -1, -1]], jnp.int32)

    def loss(parameters: Any, *, remat: bool, cut: str | None, inputs: Any) -> Any:
        apply = network.make_apply(["sentence", "layer1:max"], remat=remat, cut=cut)
        return sum(jnp.sum(rows**3) for rows in apply(parameters, inputs))

    parameters = {name: jnp.asarray(x) for name, x in network.parameters.items()}
    plain, again = (
        jax.grad(lambda p, r=remat: loss(p, remat=r, cut=None, inputs=ids))(parameters)
        for remat in (False, True)
    )
    for name, array in plain.items():
        np.testing.assert_allclose(again[name], array, atol=1e-5, err_msg=name)
    start = network.make_apply(["layer0"])(parameters, ids)[0]
    at_cut = start[:, : ids.shape[1]]
    whole = loss(parameters, remat=False, cut=None, inputs=ids)
    for remat in (False, True):
        behind = loss(parameters, remat=remat, cut="layer0", inputs=(at_cut, ids))
        assert float(behind) == pytest.approx(float(whole), rel=1e-5)


def test_batches_are_as_long_as_their_longest_text(table: Path) -> None:
    dataset, content, preprocess = prepared(table)
    inputs = PreparedInputs(dataset, dict(content), digests(content), preprocess)
    every = np.arange(len(content))
    (batch,) = inputs.stream([every])
    alone = [next(iter(inputs.stream([every[i : i + 1]])))[0] for i in every[:4]]
    lengths = (batch != PADDING).sum(axis=1)
    assert batch.shape[1] in (16, 32, 64) and batch.shape[1] >= lengths.max()
    for row, own in zip(batch, alone, strict=False):
        np.testing.assert_array_equal(row[row >= 0], own[own >= 0])


def test_cached_tokens_come_with_the_texts_they_are_of(table: Path) -> None:
    dataset, content, preprocess = prepared(table)
    inputs = PreparedInputs(dataset, dict(content), digests(content), preprocess)
    n, longest = len(content), preprocess.max_length
    rows = np.arange(n * longest * 2, dtype=np.float16).reshape(n, longest, 2)
    ((tokens, ids),) = CachedTokens(rows, inputs).stream([np.array([5, 2])])
    assert tokens.dtype == np.float32 and tokens.shape == (2, ids.shape[1], 2)
    np.testing.assert_array_equal(tokens, rows[[5, 2], : ids.shape[1]])


def prepared(table: Path) -> tuple[Dataset, dict[bytes, list], TextPreprocess]:
    from tl_pipeline.data.contents import digest_items

    dataset = load_dataset(table, columns=COLUMNS)
    items = items_by_content(digest_items(dataset, None))
    preprocess = tiny().preprocess
    assert isinstance(preprocess, TextPreprocess)
    return dataset, items, preprocess


def digests(items: dict[bytes, list]) -> np.ndarray:
    return np.frombuffer(b"".join(items), np.uint8).reshape(-1, 32)


def test_tuned_weights_are_extracted_by_their_file_alone(tuned, table: Path) -> None:
    one = load_run(tuned.rows[1]["run"])
    weights = str(one.provenance["weights"])
    settings = one.spec["settings"]
    backbone = load_backbone("bert_tiny", weights=weights)
    assert backbone.settings == settings
    assert backbone.preprocess.to_json() == tiny().preprocess.to_json()
    store = open_store(str(one.provenance["store"]))
    assert store.spec["weights"] == backbone.weights_digest


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        (
            {"ways": ["split"], "unfreeze": ["layer2"], "views": 2},
            RequestError,
            "views",
        ),
        ({"ways": ["views"]}, RequestError, "views are of images alone"),
        ({"augment_settings": {"rotation": 5.0}}, ConfigError, "no setting rotation"),
        ({"unfreeze": ["stage3"]}, ConfigError, "stage3"),
    ],
)
def test_what_texts_do_not_have_is_refused(
    run: str, settings: dict, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        finetune(run, **settings)


def test_a_preview_is_of_images(run: str) -> None:
    with pytest.raises(RequestError, match="takes texts"):
        preview_finetune(run)
