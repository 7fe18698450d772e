"""An S3-compatible server on loopback, as a process: prints its port, and serves.

moto checks the conditions of a put and then puts: two requests at once could both pass,
which S3 rules out. So requests are served one at a time here. In a bucket whose name
begins with "deaf" conditions are not heard, as by servers that know none.
"""

import sys
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

_turn = threading.Lock()
_app = DomainDispatcherApplication(create_backend_app)


def serve(environ, start_response):
    if environ["PATH_INFO"].startswith("/deaf"):
        for header in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"):
            environ.pop(header, None)
    with _turn:
        return list(_app(environ, start_response))


class Quiet(WSGIRequestHandler):
    def log_request(self, code="-", size="-"):
        pass


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=Quiet)
    print(server.server_port, flush=True)
    sys.stdin.close()
    server.serve_forever()
