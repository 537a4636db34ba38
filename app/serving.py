"""``tomoscribe serve``: say in one line what is missing, then hand over to ``app.server``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from app.settings import Settings
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
    library: Path | None = None,
    encoder: Path | None = None,
    model: str = "none",
    remote_model: bool = False,
) -> None:
    """Serve the page until it is stopped.

    Raises:
        UsageError: a package is missing, or the settings are not safe.
        ModelMissingError: there is no such model.
    """
    from app.asking import answering_model
    from app.store import data_folder

    settings = Settings(
        data=data or data_folder(), host=host, port=port, users=users, names=tuple(names), library=library,
        encoder=encoder, model=answering_model(model, remote=remote_model),
    )  # fmt: skip
    _check_installed(NEEDED, "the page", "page")
    if missing := [path for path in add if not path.exists()]:
        raise UsageError(f"E_USAGE: {missing[0].name} is not there, expected a scan.")
    if encoder is not None and not encoder.is_file():
        raise UsageError(f"E_USAGE: --encoder {encoder.name} is not there, expected a checkpoint.")
    from app.server import serve

    serve(settings, add, browse=browse)


def serve_agent(root: Path, data: Path | None, library: Path | None = None) -> None:
    """Serve an agent until it leaves.

    Raises:
        UsageError: a package is missing, or a folder will not do.
    """
    _check_installed(("mcp",), "the agent's server", "mcp")
    from app.agents import serve_agents
    from app.store import data_folder

    serve_agents(root, data or data_folder().with_name("tomoscribe-mcp"), library)


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
