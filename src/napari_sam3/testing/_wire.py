"""One origin on this computer: HTTP in and out, and everything a connection can do wrong."""

from __future__ import annotations

import contextlib
import gzip
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from napari_sam3.testing._behaviour import Trap

LOOPBACK = "127.0.0.1"
_PIECE = 16
_CLOSING_S = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived: the target is path and query, headers have lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and what happens on its way."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    trap: Trap | None = None
    pause_s: float = 0.0
    """After each piece of a trickling body."""

    def compressed(self) -> Reply:
        """Return the same answer, compressed."""
        headers = {**self.headers, "Content-Encoding": "gzip"}
        return replace(self, body=gzip.compress(self.body, mtime=0), headers=headers)


class Origin(ThreadingHTTPServer):
    """A server on this computer, whose errors of its own lie in `failures`.

    Parameters
    ----------
    answer : callable
        Request → Reply; called in a thread of each connection.
    wait : callable
        Sleeps so many seconds; returns False when the server closes.
    port : int
        0 for any that is free.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, answer: Callable[[Request], Reply], wait: Callable[[float], bool], port: int = 0
    ) -> None:
        self.answer = answer
        self.wait = wait
        self.failures: list[BaseException] = []
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.01,), daemon=True, name="sam3-stand-in"
        )
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://{LOOPBACK}:{self.server_port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering, end the connections that clients keep, and wait for their threads."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._changed:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, _CLOSING_S)

    def server_bind(self) -> None:
        # http.server looks up the host's name here, which can take seconds
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's
        error = sys.exception()
        # a client may go away at any time, and a closing server ends its connections
        if error is not None and not isinstance(error, OSError):
            self.failures.append(error)


class _Handler(BaseHTTPRequestHandler):
    server: Origin
    protocol_version = "HTTP/1.1"
    server_version = "segmind-stand-in"
    sys_version = ""
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._send(Reply(411, b'{"error": "Content-Length is needed"}'))
            return
        text = self.headers.get("Content-Length", "0")
        length = int(text) if text.isdigit() else 0
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True  # the client went away within its own request
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.server.answer(Request(self.command, self.path, headers, body)))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = _serve  # noqa: N815

    def _send(self, reply: Reply) -> None:
        if reply.trap in ("reset before", "reset after"):
            self._reset()
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.content_type is not None:
            self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(reply)

    def _send_body(self, reply: Reply) -> None:
        body = reply.body
        if reply.trap == "trickle":
            for start in range(0, len(body), _PIECE):
                self.wfile.write(body[start : start + _PIECE])
                if not self.server.wait(reply.pause_s):
                    break
            return
        is_cut = reply.trap in ("truncate", "reset in body")
        self.wfile.write(body[: len(body) // 2] if is_cut else body)
        if reply.trap == "reset in body":
            self._reset()
        elif reply.trap in ("truncate", "drop"):
            self.close_connection = True

    def _reset(self) -> None:
        """Break the connection off so that the client's system reports it."""
        self.close_connection = True
        seconds = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, seconds)
        # the socket closes with the last file made of it
        self.rfile.close()
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's
        """Say nothing: the ledger tells."""
