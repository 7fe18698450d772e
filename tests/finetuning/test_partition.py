"""What is trained: blocks by name, by number, or all; never a statistic."""

import pytest

from tl_pipeline.errors import ConfigError
from tl_pipeline.finetuning.partition import BIAS, KERNEL, choose_trained

BLOCKS = {
    "stem": ("stem.kernel",),
    "stage1": ("one.kernel", "one.mean"),
    "stage2": ("two.kernel", "two.scale", "two.var"),
}
STATISTICS = frozenset({"one.mean", "two.var"})


def choose(**given):
    return choose_trained(BLOCKS, statistics=STATISTICS, **given)


def test_blocks_are_trained_by_name_and_depths_count_from_the_head():
    found = choose(unfreeze=["stage2", "stage1"])
    assert found.blocks == ("stage1", "stage2")
    assert found.depths == {
        KERNEL: 0,
        BIAS: 0,
        "two.kernel": 1,
        "two.scale": 1,
        "one.kernel": 2,
    }


def test_the_last_blocks_win_over_names_and_all_is_all_but_statistics():
    assert choose(unfreeze="all", last=1).blocks == ("stage2",)
    assert choose(unfreeze="all", last=0).depths == {KERNEL: 0, BIAS: 0}
    every = {name for names in BLOCKS.values() for name in names}
    assert set(choose(unfreeze="all").depths) == every - STATISTICS | {KERNEL, BIAS}


def test_unknown_blocks_are_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="stage1, stage2.*mean 'stage2'"):
        choose(unfreeze=["stage9", "stem"])
    with pytest.raises(ConfigError, match="there are 3"):
        choose(unfreeze="all", last=4)
