"""Runs an HTTP server for a test; a function answers each GET, another takes each POST."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def serving(
    answer: Callable[[str], tuple[int, str, bytes]],
    *,
    take: Callable[[str, bytes], None] | None = None,
    answer_posts: bool = False,
    now: float | None = None,
) -> Iterator[int]:
    """Run the server; yields its port. `answer` gets the path with query, and returns status, content type and body.
    `take` gets the path and the body of each POST; with `answer_posts` it is answered as a GET. `now`: Unix time of
    the server's clock, in its header Date; None: the real time."""

    class Handler(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(now if timestamp is None else timestamp)

        def do_GET(self) -> None:
            status, kind, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if answer_posts:
                self.do_GET()
                return
            if take is not None:
                take(self.path, body)
            self.send_response(200 if take is not None else 405)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
