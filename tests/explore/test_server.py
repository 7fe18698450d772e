"""The explore page's server answers its own reader, and nobody else."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tl_pipeline.cli.app import run_command
from tl_pipeline.errors import ConfigError, NotFoundError, RequestError
from tl_pipeline.stages.explore import Exploration
from tl_pipeline.stages.explore_server import ExploreServer

Serve = Callable[..., ExploreServer]


def ask(
    server: ExploreServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


@pytest.fixture
def server(serve: Serve, store: Path) -> ExploreServer:
    return serve(store)


def test_who_has_the_address_gets_page_points_and_pictures(server: ExploreServer):
    root = urlsplit(server.url).path
    assert b"<!doctype html>" in ask(server, root)[1]
    status, points = ask(server, f"{root}points.json")
    assert status == 200 and len(json.loads(points)["id"]) == 44
    status, picture = ask(server, f"{root}thumbnail/0")
    assert status == 200 and picture.startswith(b"\x89PNG")
    assert len(json.loads(ask(server, f"{root}neighbors/0")[1])) == 12


def test_without_the_token_there_is_nothing(server: ExploreServer):
    token = server.token
    wrong = ("/", "", "/points.json", "//", f"/{token}", f"/{token[:-1]}/points.json")
    for path in (*wrong, f"/x{token}/", f"/{token}x/points.json", f"x/{token}/", "*"):
        status, body = ask(server, path)
        assert (status, body) == (404, b"There is no such page."), path


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:PORT"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1.evil.example:PORT"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
    ids=str,
)
def test_another_site_is_turned_away_even_with_the_token(
    server: ExploreServer, headers: dict[str, str]
):
    port = str(server.server_port)
    path = f"/{server.token}/points.json"
    sent = {name: value.replace("PORT", port) for name, value in headers.items()}
    assert ask(server, path, **sent)[0] == 403
    own = f"localhost:{port}"
    assert ask(server, path, Host=own, Origin=f"http://{own}")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "explore.py",
        "report.html",
        "/etc/passwd",
        "thumbnail/../../etc/passwd",
        "thumbnail//etc/passwd",
        "thumbnail/-1",
        "thumbnail/44",
        "thumbnail/0/1",
        "thumbnail/0?x=/etc/passwd",
        "thumbnail/%30",
        "thumbnail/99999999999999999999",
        "neighbors/44",
        "neighbors/²",
    ],
)
def test_no_path_leads_out_of_what_is_shown(server: ExploreServer, path: str):
    raw = path.encode().decode("latin-1")
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection._encode_request = lambda request: request.encode("latin-1")  # type: ignore[attr-defined]
    connection.putrequest("GET", f"/{server.token}/{raw}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 404
    assert b"root:" not in body and b"def " not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_sent(server: ExploreServer, method: str):
    assert ask(server, f"/{server.token}/", method)[0] == 501


def test_a_link_out_of_the_dataset_gives_only_the_bytes_of_the_snapshot(
    server: ExploreServer, photos: Path, tmp_path: Path
):
    points: Any = server.exploration.points
    row = points["id"].index("val/bees/01.png")
    path, kept = photos / "val/bees/01.png", (photos / "val/bees/01.png").read_bytes()
    other = tmp_path / "secret.png"
    other.write_bytes((photos / "val/bees/02.png").read_bytes())
    try:
        path.unlink()
        path.symlink_to(other)
        status, body = ask(server, f"/{server.token}/thumbnail/{row}")
        assert status == 404 and b"has changed since" in body
    finally:
        path.unlink()
        path.write_bytes(kept)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "", "example.org", "::"])
def test_an_address_that_others_can_reach_is_refused(store: Path, host: str):
    with pytest.raises(ConfigError, match="whoever can connect"):
        ExploreServer(Exploration(store), host=host)


def test_a_port_that_is_taken_or_none_is_refused(server: ExploreServer):
    with pytest.raises(RequestError, match=f"{server.server_port}: .*--port"):
        ExploreServer(server.exploration, port=server.server_port)
    with pytest.raises(ConfigError, match="port 70000"):
        ExploreServer(server.exploration, port=70000)


def test_tokens_differ(serve: Serve, server: ExploreServer):
    assert serve(server.exploration).token != server.token


def test_a_dataset_elsewhere_is_named_and_a_wrong_one_refused(
    store: Path, photos: Path, tmp_path: Path
):
    moved = photos.rename(tmp_path / "elsewhere")
    try:
        with pytest.raises(NotFoundError, match="holds this dataset no more; .*--data"):
            Exploration(store).thumbnail(0)
        assert Exploration(store, data=moved).thumbnail(0).startswith(b"\x89PNG")
        with pytest.raises(RequestError, match="no such folder"):
            Exploration(store, data=photos)
    finally:
        moved.rename(photos)


def test_a_plot_is_colored_by_what_a_run_predicts(
    store: Path, run: Path, tmp_path: Path
):
    pictures = []
    for more in (["--color", "prediction", "--run", str(run)], []):
        out = tmp_path / f"{len(more)}.svg"
        argv = ["store", "plot", str(store), "--out", str(out), *more]
        assert run_command(argv) == 0
        pictures.append(out.read_text())
    assert "no label (24)" in pictures[0]  # a head is not scored on train
    assert "by prediction" in pictures[0] and "no label" not in pictures[1]


def test_wrong_requests_exit_2(
    store: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for more, words in (
        (["--method", "mds"], "known are pca, tsne, umap"),
        (["--run", str(tmp_path)], "there is no run.json"),
        (["--rows", "0"], "0 rows"),
        (["--snapshot", "zz"], "no snapshot"),
    ):
        argv = ["store", "explore", str(store), "--no-browser", *more]
        assert run_command(argv) == 2
        assert words in capsys.readouterr().err


def test_the_command_prints_its_address_and_an_interrupt_ends_it(store: Path):
    argv = ["store", "explore", str(store), "--no-browser", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout and process.stderr
    text = ""
    while not text.endswith("}\n"):
        line = process.stdout.readline()
        assert line, process.stderr.read()
        text += line
    url = urlsplit(json.loads(text)["url"])
    assert url.hostname == "127.0.0.1" and url.port
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    connection.request("GET", f"{url.path}points.json")
    assert connection.getresponse().status == 200
    process.send_signal(signal.SIGINT)  # the connection is still open
    _, error = process.communicate(timeout=60)
    connection.close()
    assert process.returncode == 0
    assert "Traceback" not in error and "ended" in error


_PROGRAM = """
import sys
from tl_pipeline.cli.app import run_command
code = run_command(sys.argv[1:])
assert not {"jax", "flax", "prefect"} & set(sys.modules)
sys.exit(code)
"""
