"""Weights of a hub: the real client, against a server of this file and its own cache.

The client reads its environment when it is imported, so each load is a process.
"""

import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tl_pipeline.backbones import bert, spectrogram
from tl_pipeline.backbones.byte_tokens import byte_preprocess
from tl_pipeline.backbones.digits_cnn import BUNDLED
from tl_pipeline.backbones.parameters import parameter_shapes, random_parameters
from tl_pipeline.backbones.text_transformer import TextTransformer
from tl_pipeline.digest import file_digest
from tl_pipeline.weights.safetensors import write_safetensors

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOAD = """
import json, sys
from tl_pipeline.errors import WeightsError
from tl_pipeline.stages.backbones import load_backbone
try:
    backbone = load_backbone("digits_cnn", weights=sys.argv[1])
    print(json.dumps({"origin": backbone.weights_origin, "weights": backbone.weights}))
except WeightsError as error:
    print(json.dumps({"refused": str(error)}))
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """The few endpoints that the client calls for a file."""

    repositories: dict[str, dict[str, bytes]] = {}
    asked: list[str] = []

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.wfile.write(self.answer())

    def answer(self) -> bytes:
        self.asked.append(f"{self.command} {self.path}")
        repository, _, rest = self.path[1:].partition("/resolve/")
        revision, _, file = rest.partition("/")
        files = self.repositories.get(repository)
        if files is None:
            return self.refuse(401 if rest else 404, "RepoNotFound")
        if revision not in ("main", COMMIT):
            return self.refuse(404, "RevisionNotFound")
        if file not in files:
            return self.refuse(404, "EntryNotFound")
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash(files[file])}"')
        self.send_header("Content-Length", str(len(files[file])))
        self.end_headers()
        return files[file]

    def refuse(self, status: int, code: str) -> bytes:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return b""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    """Serves digits_cnn's weights, and yields the address."""
    Hub.repositories = {"us/digits": {"model.safetensors": BUNDLED.read_bytes()}}
    Hub.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def load(weights: str, home: Path, program: str = LOAD, **environment: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", program, weights],
        capture_output=True,
        text=True,
        check=False,
        env={
            **{"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(filter(None, sys.path))},
            **{"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"},
            **environment,
        },
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_repository_of_a_hub_is_loaded_and_its_commit_is_said(hub, tmp_path):
    found = load("hf:us/digits", tmp_path, HF_ENDPOINT=hub)
    origin = found["origin"]
    assert (origin["kind"], origin["hub"]) == ("hub", "us/digits")
    assert (origin["file"], origin["commit"]) == ("model.safetensors", COMMIT)
    assert origin["sha256"] == file_digest(BUNDLED)
    # Now it is in the cache, where it is found without the hub.
    again = load("hf:us/digits", tmp_path, HF_HUB_OFFLINE="1")
    assert again == found


def test_a_failure_is_one_sentence_that_says_what_to_bring_and_where(hub, tmp_path):
    Hub.repositories["us/empty"] = {}
    cases = {
        "hf:us/nowhere": "the hub has no such repository",
        "hf:us/digits@v9": "it has no revision v9",
        "hf:us/digits:other.bin": "other.bin: it has no such file",
        "hf:us/empty": "model.safetensors or pytorch_model.bin or .*no such file",
    }
    for weights, expected in cases.items():
        refused = load(weights, tmp_path, HF_ENDPOINT=hub)["refused"]
        assert re.search(expected, refused), refused
        assert f"Asked for weights {weights}, " in refused
        repository = weights.removeprefix("hf:us/").partition("@")[0].partition(":")[0]
        folder = tmp_path / "hub" / f"models--us--{repository}"
        assert f"{folder}/snapshots/COMMIT/" in refused
        assert f"{folder}/refs/" in refused


def test_an_empty_cache_offline_says_so(tmp_path):
    refused = load("hf:us/digits", tmp_path, HF_HUB_OFFLINE="1")["refused"]
    assert "HF_HUB_OFFLINE is set and the cache lacks it" in refused


def test_a_cache_that_was_made_by_hand_as_the_message_says_is_used(tmp_path):
    folder = tmp_path / "hub" / "models--us--digits"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    place = folder / "snapshots" / COMMIT / "model.safetensors"
    place.write_bytes(BUNDLED.read_bytes())
    origin = load("hf:us/digits", tmp_path, HF_HUB_OFFLINE="1")["origin"]
    assert origin["commit"] == COMMIT
    assert origin["sha256"] == file_digest(BUNDLED)


LOAD_RECORDINGS = """
import json, sys
from tl_pipeline.backbones import registry, spectrogram
from tl_pipeline.stages.backbones import load_backbone
shape = spectrogram.VARIANTS["ast_base"]._replace(width=16, depth=1, heads=2)
spectrogram.VARIANTS["ast_row"] = shape
registry._MODULES["ast_row"] = spectrogram.__name__
backbone = load_backbone("ast_row", weights=sys.argv[1])
print(json.dumps(backbone.preprocess.to_json() | backbone.weights_origin))
"""


def test_the_front_end_of_a_repository_comes_with_it(hub, tmp_path):
    shape = spectrogram.VARIANTS["ast_base"]._replace(width=16, depth=1, heads=2)
    network = spectrogram.SpectrogramTransformer(shape._replace(length=32))
    arrays = random_parameters(parameter_shapes(network), seed=0)
    write_safetensors(tmp_path / "model.safetensors", arrays, metadata={})
    Hub.repositories["us/sounds"] = {
        "model.safetensors": (tmp_path / "model.safetensors").read_bytes(),
        "preprocessor_config.json": b'{"max_length": 32, "mean": -2.5, "std": 3.0}',
    }
    found = load("hf:us/sounds", tmp_path, LOAD_RECORDINGS, HF_ENDPOINT=hub)
    assert (found["length"], found["mean"], found["std"]) == (32, -2.5, 3.0)
    assert (found["hub"], found["preprocess"]) == ("us/sounds", "said beside the file")


LOAD_TEXTS = """
import json, sys
from tl_pipeline.backbones import bert, registry
from tl_pipeline.stages.backbones import load_backbone
shape = bert.VARIANTS["minilm_l6"]._replace(width=16, depth=1, heads=2)
bert.VARIANTS["bert_tiny"] = shape._replace(vocabulary=256, positions=32)
registry._MODULES["bert_tiny"] = bert.__name__
backbone = load_backbone("bert_tiny", weights=sys.argv[1])
found = {"tokenizer": backbone.preprocess.tokenizer, "settings": backbone.settings}
print(json.dumps(found))
"""


def test_the_tokenizer_and_configuration_of_a_repository_come_with_it(hub, tmp_path):
    folder = tmp_path / "w"
    folder.mkdir()
    shape = bert.VARIANTS["minilm_l6"]._replace(width=16, depth=1, heads=2)
    network = TextTransformer(shape._replace(vocabulary=256, positions=32))
    arrays = random_parameters(parameter_shapes(network), seed=0)
    write_safetensors(folder / "model.safetensors", arrays, metadata={})
    modules = [{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling"}]
    modules[1]["type"] = "a.Pooling"
    bytes_of = byte_preprocess(32)
    Hub.repositories["us/words"] = {
        "model.safetensors": (folder / "model.safetensors").read_bytes(),
        "tokenizer.json": bytes_of.content.encode(),
        "config.json": b'{"hidden_size": 16}',
        "modules.json": json.dumps(modules).encode(),
        "1_Pooling/config.json": b'{"pooling_mode_max_tokens": true}',
        "sentence_bert_config.json": b'{"max_seq_length": 24}',
    }
    found = load("hf:us/words", tmp_path, LOAD_TEXTS, HF_ENDPOINT=hub)
    assert found["tokenizer"] == bytes_of.tokenizer
    assert found["settings"]["sentence"] == "max"
    assert found["settings"]["max_length"] == 24
    assert f"HEAD /us/words/resolve/{COMMIT}/vocab.txt" in Hub.asked
