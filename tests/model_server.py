"""A model server that follows a script: each request gets the next behaviour, on a real socket of this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Handler", dict[str, Any]], None]


@dataclass
class Scripted:
    """A running server: its address, what it was asked, and the event that lets it go on at the end."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    script: Sequence[Behaviour]
    told: Scripted

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        n = len(self.told.asked)
        self.told.asked.append(body)
        self.told.headers.append(dict(self.headers))
        with suppress(BrokenPipeError, ConnectionResetError):  # the client left, which is what some scripts are about
            self.script[min(n, len(self.script) - 1)](self, body)

    def do_GET(self) -> None:
        self.begin(200, "application/json")
        self.wfile.write(b'{"data": [{"id": "tiny"}]}')

    def begin(self, status: int = 200, kind: str = "text/event-stream") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.end_headers()

    def event(self, delta: dict[str, Any], finish: str | None = None) -> None:
        data = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(*script: Behaviour) -> Iterator[Scripted]:
    """A server on a free port of this machine until the block ends."""
    told = Scripted("")
    handler = type("Scripted", (Handler,), {"script": script, "told": told})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_address[1]}/v1#tiny"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        told.over.set()
        server.shutdown()
        server.server_close()


def says(text: str, *, done: bool = True) -> Behaviour:
    """Streams a text in three pieces."""

    def behave(handler: Handler, _: dict[str, Any]) -> None:
        handler.begin()
        third = len(text) // 3 + 1
        for start in range(0, len(text), third):
            handler.event({"content": text[start : start + third]})
        handler.event({}, "stop")
        if done:
            handler.wfile.write(b"data: [DONE]\n\n")

    return behave


def calls(name: str, arguments: str) -> Behaviour:
    """Calls a tool, its arguments in two pieces."""

    def behave(handler: Handler, _: dict[str, Any]) -> None:
        handler.begin()
        half = len(arguments) // 2
        handler.event({"tool_calls": [{"index": 0, "function": {"name": name, "arguments": arguments[:half]}}]})
        handler.event({"tool_calls": [{"index": 0, "function": {"arguments": arguments[half:]}}]})
        handler.event({}, "tool_calls")

    return behave


def sends(body: bytes, *, status: int = 200, kind: str = "text/event-stream") -> Behaviour:
    """Sends bytes, whatever they are."""

    def behave(handler: Handler, _: dict[str, Any]) -> None:
        handler.begin(status, kind)
        handler.wfile.write(body)

    return behave


def stalls(text: str = "", *, trickle: bool = False) -> Behaviour:
    """Says a text, then keeps the line open without a word, or with comments that mean nothing."""

    def behave(handler: Handler, _: dict[str, Any]) -> None:
        handler.begin()
        if text:
            handler.event({"content": text})
        while not handler.told.over.wait(0.02 if trickle else 5):
            handler.wfile.write(b": still here\n\n")
            handler.wfile.flush()

    return behave


def floods(handler: Handler, _: dict[str, Any]) -> None:
    """Never stops talking."""
    handler.begin()
    while not handler.told.over.is_set():
        handler.event({"content": "no " * 2000})


def dies(handler: Handler, _: dict[str, Any]) -> None:
    """Hangs up in the middle."""
    handler.begin()
    handler.event({"content": '{"R1":"There is a'})
    handler.connection.close()
