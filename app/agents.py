"""``tomoscribe mcp``: the desk as tools for an agent of the user's own, over stdin and stdout; no port is opened.

Five tools: ``open_scan`` (a path below the given root becomes a case, with the verdict of the intake), ``read``,
``ask``, ``query`` and ``search``. They are the page's own methods, with its queue and its limits; a path outside
the root is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from anyio import to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from app.jobs import QueueFullError
from app.page.desk import Desk
from app.page.uploads import UploadError
from app.page.users import LOCAL
from app.store import MissingCaseError
from vlm.errors import TomoscribeError, UsageError
from vlm.language.events import MOST_CHARACTERS

T = TypeVar("T")
INSTRUCTIONS = (
    "Reads CT scans and drafts reports whose sentences cite evidence. Drafts for research use only; not a medical "
    "device, not for diagnosis. Repeat a sentence only with its citation and its verdict."
)


def make_server(desk: Desk, root: Path) -> MCPServer:
    """The tools of a desk; scans are opened below ``root`` alone."""
    server = MCPServer("tomoscribe", instructions=INSTRUCTIONS, log_level="ERROR")

    @server.tool()
    async def open_scan(path: str) -> dict[str, Any]:
        """Take in a scan: a DICOM folder, a zip, a DICOM or NIfTI file. Returns its case id and what would be read."""
        case = await _said(lambda: desk.add_path(LOCAL, _below(root, path)))
        return {"case": case.id, **case.intake}

    @server.tool()
    async def read(case: str) -> dict[str, Any]:
        """Read an opened case and return its report: sentences with citations and verdicts, and the evidence."""
        return await _said(lambda: desk.read_and_wait(case, LOCAL))

    @server.tool()
    async def ask(case: str, question: str) -> list[dict[str, Any]]:
        """Ask about a case that was read; each sentence of the answer is cited and checked."""
        return await _said(lambda: list(desk.ask(case, LOCAL, question[:MOST_CHARACTERS])))

    @server.tool()
    async def query(case: str, words: str) -> dict[str, Any]:
        """What a case's ledger says of the findings that some words mean."""
        return await _said(lambda: desk.query(case, LOCAL, words[:200]))

    @server.tool()
    async def search(case: str = "", words: str = "") -> list[dict[str, Any]]:
        """Cases of the case library like a case that was read, or whose reports say some words; give one of the two."""
        return await _said(lambda: desk.search(LOCAL, case=case, words=words[:200]))

    return server


def serve_agents(root: Path, data: Path, library: Path | None = None) -> None:
    """Serve over stdin and stdout until the agent leaves.

    Raises:
        UsageError: the root is no folder, or the data folder is in use.
    """
    if not root.is_dir():
        raise UsageError(f"E_USAGE: --root {root.name} is no folder, expected the folder that holds the scans.")
    desk = Desk(data, library)
    desk.start()
    try:
        make_server(desk, root).run()
    finally:
        desk.close()


def _below(root: Path, path: str) -> Path:
    """A path that lies below the root once every link in it is followed."""
    found = (root / path).resolve()
    if not found.is_relative_to(root.resolve()) or not found.exists():
        raise UsageError("E_USAGE: the path is not below the root that this server was given.")
    return found


async def _said(work: Callable[[], T]) -> T:
    """The result of work that takes a while, or the one line that says why there is none."""
    try:
        return await to_thread.run_sync(work)
    except MissingCaseError:
        raise ToolError("There is no such case.") from None
    except (TomoscribeError, UploadError, QueueFullError) as error:
        raise ToolError(str(error)) from None
