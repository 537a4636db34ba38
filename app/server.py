"""The server: our routes and Gradio's behind one guard, on this machine alone unless users are named.

``application(...)`` builds it; ``serve(...)`` runs it until it is stopped.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from app.jobs import QueueFullError
from app.page.build import build, theme
from app.page.desk import Desk
from app.page.guard import Guard
from app.page.routes import STATIC, case_routes, reading_routes, static_routes
from app.page.similar_routes import similar_routes
from app.page.uploads import UploadError
from app.page.users import LOCAL, Users
from app.settings import Settings
from app.store import MissingCaseError
from vlm.errors import TomoscribeError, UsageError

MOST_GRADIO_UPLOAD = "1kb"  # Gradio takes no files: the page's own uploads stream to disk


def application(settings: Settings, desk: Desk) -> FastAPI:
    """The ASGI application of a desk."""

    @asynccontextmanager
    async def working(_: FastAPI) -> AsyncIterator[None]:
        desk.start()
        yield
        desk.close()

    os.environ["GRADIO_TEMP_DIR"] = str(desk.store.folder / "scratch" / "gradio")  # not in a folder that all can read
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=working)
    names = [settings.host, *settings.names]
    app.add_middleware(Guard, users=Users(settings.users), hosts=[name.lower() for name in names])
    for router in (static_routes(STATIC.parent), case_routes(desk), reading_routes(desk), similar_routes(desk)):
        app.include_router(router)
    _say_errors(app)
    mounted: FastAPI = gr.mount_gradio_app(
        app, build(desk), path="/", theme=theme(), css_paths=[STATIC / "page.css", STATIC / "similar.css"],
        footer_links=[], run_history=False, max_file_size=MOST_GRADIO_UPLOAD, allowed_paths=[],
        blocked_paths=[str(settings.data.resolve())],
        show_error=False, ssr_mode=False, pwa=False, enable_monitoring=False, mcp_server=False,
        auth_dependency=lambda request: request.scope.get("state", {}).get("user"),
    )  # fmt: skip
    return mounted


def _say_errors(app: FastAPI) -> None:
    """Errors that a person can act on, as JSON with one line; everything else is a bare 500."""
    codes = {MissingCaseError: 404, UploadError: 413, QueueFullError: 429, UsageError: 409, TomoscribeError: 409}

    async def told(_: Request, error: Exception) -> JSONResponse:
        status = next(code for kind, code in codes.items() if isinstance(error, kind))
        message = "There is no such case." if status == 404 else str(error).removeprefix("E_USAGE: ")
        return JSONResponse({"message": message}, status_code=status)

    for kind in codes:
        app.add_exception_handler(kind, told)


def serve(settings: Settings, add: Sequence[Path] = (), *, browse: bool = False) -> None:
    """Serve until stopped; ``add`` are paths to take in and read at the start,
    ``browse`` opens the page in the user's browser, at the last of them.

    Raises:
        UsageError: the address is public and nobody has to log in, or the port or the data folder is in use.
    """
    _check_port(settings)
    desk = Desk(settings.data, settings.library, settings.encoder, settings.model)
    app = application(settings, desk)
    opened = ""
    for path in add:
        case = desk.add_path(LOCAL, path)
        if case.state == "arrived":
            desk.read(case.id, LOCAL)
            opened = f"/#{case.id}"
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{name}:{settings.port}"
    if browse:
        threading.Timer(1.0, webbrowser.open, [address + opened]).start()
    sys.stderr.write(f"tomoscribe is at {address}  (stop with Ctrl-C; cases in {settings.data})\n")
    uvicorn.run(
        app, host=settings.host, port=settings.port, log_level="warning", access_log=False, server_header=False,
        proxy_headers=False, ws_max_size=1 << 20, h11_max_incomplete_event_size=64 << 10,
    )  # fmt: skip


def _check_port(settings: Settings) -> None:
    """Say in one line that a port is taken, before anything is read."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            why = (error.strerror or "it cannot be used").lower()
            raise UsageError(
                f"E_USAGE: --port is {settings.port}: {why}, expected a free one. Stop what uses it, or name another."
            ) from None


@contextmanager
def running(settings: Settings) -> Iterator[Desk]:
    """A page that is served in a thread while the block lasts: for tests and benchmarks."""
    desk = Desk(settings.data, settings.library, settings.encoder, settings.model)
    config = uvicorn.Config(application(settings, desk), host=settings.host, port=settings.port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        yield desk
    finally:
        server.should_exit = True
        thread.join()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
