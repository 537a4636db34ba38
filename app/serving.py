"""``tomoscribe serve``: say in one line what is missing, then hand over to ``app.server``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from vlm.errors import UsageError

NEEDED = ("gradio", "fastapi", "uvicorn")


def serve_page(
    add: Sequence[Path],
    *,
    host: str,
    port: int,
    data: Path | None,
    users: Path | None,
    names: Sequence[str],
    browse: bool,
) -> None:
    """Serve the page until it is stopped.

    Raises:
        UsageError: a package is missing, or the settings are not safe.
    """
    _check_installed(NEEDED, "the page", "page")
    from app.server import Settings, serve
    from app.store import data_folder

    if missing := [path for path in add if not path.exists()]:
        raise UsageError(f"E_USAGE: {missing[0].name} is not there, expected a scan.")
    serve(
        Settings(data=data or data_folder(), host=host, port=port, users=users, names=tuple(names)), add, browse=browse
    )


def serve_agent(root: Path, data: Path | None) -> None:
    """Serve an agent until it leaves.

    Raises:
        UsageError: a package is missing, or a folder will not do.
    """
    _check_installed(("mcp",), "the agent's server", "mcp")
    from app.agents import serve_agents
    from app.store import data_folder

    serve_agents(root, data or data_folder().with_name("tomoscribe-mcp"))


def write_user(path: Path | None, name: str, ask_password: Callable[[], str]) -> None:
    """Add a user to the file of users.

    Raises:
        UsageError: no file is named, or the name or password will not do.
    """
    if path is None:
        raise UsageError("E_USAGE: --add-user needs --users FILE, the file to write to.")
    from app.page.users import add_user

    add_user(path, name, ask_password())


def _check_installed(needed: Sequence[str], what: str, extra: str) -> None:
    if missing := [name for name in needed if find_spec(name) is None]:
        raise UsageError(
            f"E_USAGE: {what} needs {', '.join(missing)}, expected them installed. "
            f'Run `pip install "tomoscribe[{extra}]"`, or `make demo` in a checkout.'
        )
