"""What a fine-tuning is fed: every batch its rows, kept or decoded anew."""

import numpy as np
import pytest

from tl_pipeline.backbones.registry import make_architecture
from tl_pipeline.data.contents import digest_items
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import DatasetError
from tl_pipeline.stages.extract import items_by_content
from tl_pipeline.stages.finetune_inputs import MOST_KEPT, Pictures


@pytest.mark.parametrize("most_kept", [0, MOST_KEPT])
def test_pictures_come_by_row_whether_or_not_they_are_kept(most_kept: int):
    dataset = load_dataset("builtin:digits-shifted")
    contents = digest_items(dataset, None)
    content = contents.content[:40]
    pictures = Pictures(
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
    pictures = Pictures(dataset, known, content, preprocess)
    with pytest.raises(DatasetError, match="Extract the dataset again"):
        list(pictures.stream([np.array([0])]))
