"""What a fine-tuning is fed: every batch its rows, kept or decoded anew."""

import numpy as np
import pytest

from tl_pipeline.backbones.registry import make_architecture
from tl_pipeline.data.contents import digest_items
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import DatasetError
from tl_pipeline.stages.extract import items_by_content
from tl_pipeline.stages.finetune_inputs import MOST_KEPT, CachedRows, PreparedInputs


@pytest.mark.parametrize("most_kept", [0, MOST_KEPT])
def test_pictures_come_by_row_whether_or_not_they_are_kept(most_kept: int):
    dataset = load_dataset("builtin:digits-shifted")
    contents = digest_items(dataset, None)
    content = contents.content[:40]
    pictures = PreparedInputs(
        dataset,
        items_by_content(contents),
        content,
        make_architecture("digits_cnn").preprocess,
        most_kept=most_kept,
    )
    alone = [next(pictures.stream([np.array([row])]))[0] for row in range(5)]
    assert len(np.unique(alone, axis=0)) == 5
    batches = [np.array([3, 1, 3]), np.array([0, 4, 1])]
    for rows, batch in zip(batches, pictures.stream(batches), strict=True):
        np.testing.assert_array_equal(batch, [alone[row] for row in rows])


def test_a_picture_that_went_missing_is_a_sentence():
    dataset = load_dataset("builtin:digits-shifted")
    items = items_by_content(digest_items(dataset, None))
    content = np.zeros((1, 32), np.uint8)
    known = {content[0].tobytes(): next(iter(items.values()))}
    preprocess = make_architecture("digits_cnn").preprocess
    pictures = PreparedInputs(dataset, known, content, preprocess)
    with pytest.raises(DatasetError, match="Extract the dataset again"):
        list(pictures.stream([np.array([0])]))


def test_a_drawn_view_is_a_function_of_seed_and_step():
    rows = np.arange(12.0, dtype=np.float16).reshape(6, 2)
    cached = CachedRows(rows, [rows + 100, rows + 200])
    batch = np.array([4, 0, 4, 1])
    drawn = [cached.draw(batch, step, seed=0) for step in range(200)]
    for one in drawn:
        np.testing.assert_array_equal(one % 6, batch)
    shares = np.bincount(np.concatenate(drawn) // 6, minlength=3) / 800
    np.testing.assert_allclose(shares, 1 / 3, atol=0.06)
    np.testing.assert_array_equal(drawn[7], cached.draw(batch, 7, seed=0))
    assert any((cached.draw(batch, 7, seed=1) != drawn[7]).tolist())
    (found,) = cached.stream([drawn[7]])
    expected = rows[batch] + 100 * (drawn[7] // 6)[:, None]
    np.testing.assert_array_equal(found, expected.astype(np.float32))
