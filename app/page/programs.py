"""What programs may call through gradio_client: ``read``, ``ask``, ``query`` and ``search``, and nothing else.

They are the desk's methods under the same login and the same limits as the page. Files come in through our own
route alone: what a function takes as a file, Gradio fetches from wherever the caller says, also from this machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr

from app.jobs import QueueFullError
from app.page.desk import Desk
from app.page.uploads import UploadError
from app.store import MissingCaseError
from vlm.errors import TomoscribeError
from vlm.language.events import MOST_CHARACTERS

T = TypeVar("T")
KNOWN = (TomoscribeError, UploadError, QueueFullError)


def add_programs(desk: Desk) -> None:
    """Register the functions on the page that is being built."""

    def read(case: str, request: gr.Request) -> dict[str, Any]:
        """Read a case whose files have arrived through ``/api/cases``, and return its report.

        Args:
            case: the id that the upload was given.
            request: who asks; filled in by the server.
        """
        return _said(lambda: desk.read_and_wait(case, _owner(request)))

    def ask(case: str, question: str, request: gr.Request) -> list[dict[str, Any]]:
        """Ask about a case that was read; returns the events of the answer, each sentence cited and checked.

        Args:
            case: the id that ``read`` returned.
            question: at most 2,000 characters.
            request: who asks; filled in by the server.
        """
        if len(question) > MOST_CHARACTERS:
            raise gr.Error(f"At most {MOST_CHARACTERS} characters.", print_exception=False)
        return _said(lambda: list(desk.ask(case, _owner(request), question)))

    def query(case: str, words: str, request: gr.Request) -> dict[str, Any]:
        """What a case's ledger says of the findings that some words mean.

        Args:
            case: the id that ``read`` returned.
            words: a finding, an organ, or a patient's words for one.
            request: who asks; filled in by the server.
        """
        return _said(lambda: desk.query(case, _owner(request), words[:200]))

    def search(case: str, words: str, request: gr.Request) -> list[dict[str, Any]]:
        """Cases of the case library, most alike first.

        Args:
            case: the id of a case that was read, to find cases like it; empty for a search by words.
            words: what their reports should say; empty for a search by a case.
            request: who asks; filled in by the server.
        """
        return _said(lambda: desk.search(_owner(request), case=case, words=words[:200]))

    for function in (read, ask, query, search):
        gr.api(function, api_name=function.__name__)


def _owner(request: gr.Request) -> str:
    """Whom the guard let in."""
    return str(request.request.scope["state"]["user"])


def _said(work: Callable[[], T]) -> T:
    """The result, or the one line that says why there is none."""
    try:
        return work()
    except MissingCaseError:
        raise gr.Error("There is no such case.", print_exception=False) from None
    except KNOWN as error:
        raise gr.Error(str(error), print_exception=False) from None
