"""The tools for an agent: what is offered, what is refused (threats T3, T18)."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from mcp.client import Client

from app.agents import make_server
from app.page.desk import Desk
from app.page.users import LOCAL
from tests.page_case import Finished, put_case

pytestmark = pytest.mark.xdist_group("page")


def call(desk: Desk, root: Path, tool: str, **words: str) -> tuple[bool, str]:
    """Whether a call failed, and all that it said."""

    async def run() -> tuple[bool, str]:
        async with Client(make_server(desk, root)) as client:
            answer = await client.call_tool(tool, dict(words))
            return bool(answer.is_error), " ".join(getattr(part, "text", "") for part in answer.content)

    return anyio.run(run)


def test_five_tools_are_offered(desk: Desk, tmp_path: Path) -> None:
    async def names() -> set[str]:
        async with Client(make_server(desk, tmp_path)) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    assert anyio.run(names) == {"open_scan", "read", "ask", "query", "search"}


@pytest.mark.parametrize("path", ["../outside.nii.gz", "/etc/passwd", "link/passwd", "missing"])
def test_t3_a_path_outside_the_root_is_refused(desk: Desk, tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    failed, said = call(desk, root, "open_scan", path=path)
    assert failed
    assert "not below the root" in said
    assert desk.worklist(LOCAL) == []


def test_an_agent_asks_about_a_case(desk: Desk, tmp_path: Path, finished: Finished) -> None:
    case = put_case(desk, LOCAL, finished)
    failed, said = call(desk, tmp_path, "ask", case=case, question="Is there an effusion?")
    assert not failed
    assert "left pleural effusion" in said
    assert "supported" in said
    assert "tomoscribe-report/1" in call(desk, tmp_path, "read", case=case)[1]


def test_t12_a_case_that_is_not_there_is_missing(desk: Desk, tmp_path: Path) -> None:
    failed, said = call(desk, tmp_path, "read", case="0" * 32)
    assert failed
    assert "There is no such case." in said


def test_t3_a_folder_with_links_is_refused(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "root" / "study"
    folder.mkdir(parents=True)
    (folder / "1.dcm").symlink_to("/etc/passwd")
    failed, said = call(desk, tmp_path / "root", "open_scan", path="study")
    assert failed
    assert "link" in said
    assert desk.worklist(LOCAL) == []
