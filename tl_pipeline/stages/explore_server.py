"""The explore page's server: one reader, on this machine, who knows the token.

It listens on a loopback address only. A page of another site that is open in the same
browser can send requests here too: it does not know the token, and where it makes its
own name resolve to this address, the `Host` header says so.
"""

import hmac
import ipaddress
import json
import logging
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tl_pipeline.errors import ConfigError, NotFoundError, RequestError
from tl_pipeline.reporting.explorer import read_page_file
from tl_pipeline.stages.explore import Exploration

_log = logging.getLogger(__name__)

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = {
    "": ("explore.html", "text/html; charset=utf-8"),
    "explore.js": ("explore.js", "text/javascript; charset=utf-8"),
    "canvas.js": ("canvas.js", "text/javascript; charset=utf-8"),
}


class ExploreServer(ThreadingHTTPServer):
    """Serves an exploration; `serve_forever` until `shutdown`.

    Attributes:
      url: What to open: it holds the token.
    """

    daemon_threads = True

    def __init__(
        self, exploration: Exploration, *, port: int = 0, host: str = "127.0.0.1"
    ):
        """Binds a port.

        Args:
          exploration: What to serve.
          port: 0 for any free one.
          host: A loopback address, IPv4.

        Raises:
          ConfigError: Others than this machine could connect, or there is no such port.
          RequestError: The port is taken.
        """
        _check_loopback(host)
        if not 0 <= port <= 65535:
            raise ConfigError(f"Asked for port {port}: ports are 0 to 65535.")
        self.exploration = exploration
        self.document = json.dumps(exploration.points, ensure_ascii=False).encode()
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise RequestError(
                f"Asked to serve on {host}:{port}: {error.strerror}. Name another "
                "--port, or none for any free one."
            ) from error
        self.names = {f"{name}:{self.server_port}" for name in (host, "localhost")}
        self.url = f"http://{host}:{self.server_port}/{self.token}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Keeps quiet of readers that hang up."""
        _log.debug("a request of %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: ExploreServer  # pyright: ignore[reportIncompatibleVariableOverride]
    server_version, sys_version = "tl-pipeline", ""
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds that a connection may keep silent

    def do_GET(self) -> None:
        if not self._is_at_home():
            self._answer(HTTPStatus.FORBIDDEN, b"This is not the page's own address.")
            return
        root, *words = self.path.split("/")
        token, rest = "".join(words[:1]), words[1:]
        known = hmac.compare_digest(token.encode(), self.server.token.encode())
        if root or not known or not rest:
            self._answer(HTTPStatus.NOT_FOUND, b"There is no such page.")
            return
        try:
            kind, body = self._find(rest)
        except NotFoundError as error:
            self._answer(HTTPStatus.NOT_FOUND, str(error).encode(errors="replace"))
            return
        self._answer(HTTPStatus.OK, body, kind)

    def log_message(self, format: str, *args: object) -> None:
        _log.debug(format, *args)

    def _is_at_home(self) -> bool:
        if self.headers.get_all("Host") not in [[name] for name in self.server.names]:
            return False
        origins = {f"http://{name}" for name in self.server.names}
        return self.headers.get("Origin") in {None, *origins}

    def _find(self, words: list[str]) -> tuple[str, bytes]:
        exploration = self.server.exploration
        match words:
            case [name] if name in _PAGE:
                file, kind = _PAGE[name]
                return kind, read_page_file(file)
            case ["points.json"]:
                return "application/json", self.server.document
            case ["thumbnail", row] if _is_number(row):
                return exploration.show(int(row))
            case ["neighbors", row] if _is_number(row):
                found = exploration.neighbors(int(row))
                return "application/json", json.dumps(found).encode()
        raise NotFoundError("There is no such page.")

    def _answer(
        self,
        status: HTTPStatus,
        body: bytes,
        kind: str = "text/plain; charset=utf-8",
    ) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 10


def _check_loopback(host: str) -> None:
    try:
        inside = ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        inside = False
    if not inside:
        raise ConfigError(
            f"Asked to serve on {host}: the page shows your data to whoever can "
            "connect. Use 127.0.0.1, and from elsewhere a tunnel such as `ssh -L`."
        )
