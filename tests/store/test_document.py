"""What a stranger sees of a store's files in the tools that come with HDF5."""

import shutil
import subprocess

import pytest


def show(*command: object) -> str:
    if not shutil.which(str(command[0])):
        pytest.skip(f"{command[0]} is not installed (Debian: hdf5-tools)")
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_shard_reads_like_a_document_in_the_tools_of_hdf5(toy, tmp_path):
    store = toy.extract(tmp_path, toy.make_content(9))
    file = store.path / "shards" / store.manifest.shards[-1].name
    lines = {line.split()[0] for line in show("h5ls", "-r", file).splitlines()}
    assert lines == {"/", "/content_digest", "/features", "/features/stage1", "/view"}
    text = show("h5dump", "-A", file)
    for words in (
        "row i of every dataset in /features was computed from the example",
        '"backbone":"toy"',
        '"platform":"toy"',
        "Output stage1 of backbone toy, [rows, 3, 3, 4] float16",
        '"dimensionless activations"',
        "SHA-256 of the example's bytes",
    ):
        assert words in text
    # Of variable length a text lies in a heap, which nothing checks.
    assert "H5T_VARIABLE" not in text


def test_a_snapshot_reads_like_a_document_in_the_tools_of_hdf5(toy, tmp_path):
    store = toy.extract(tmp_path, toy.make_content(9))
    file = store.path / "snapshots" / store.manifest.snapshots[0].name
    text = show("h5dump", "-d", "/id", "-d", "/labeled", "-d", "/split", file)
    for words in ("00008.png", "1 where the example has a target", "val"):
        assert words in text
    assert "H5T_VARIABLE" not in show("h5dump", "-A", file)
