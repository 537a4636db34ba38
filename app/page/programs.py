"""What programs may call through gradio_client: ``read``, ``ask`` and ``query``, and nothing else.

They are the desk's methods under the same login and the same limits as the page. A file
comes in as an upload of gradio_client, is copied into the case, and leaves Gradio's folder at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from app.jobs import ACTIVE, QueueFullError
from app.page.desk import Desk
from app.page.uploads import UploadError
from app.store import MissingCaseError
from vlm.errors import TomoscribeError
from vlm.language.answering import MOST_CHARACTERS

POLL_S = 0.2
T = TypeVar("T")
KNOWN = (TomoscribeError, UploadError, QueueFullError)


def add_programs(desk: Desk) -> None:
    """Register the functions on the page that is being built."""

    def read(file: gr.FileData, request: gr.Request) -> dict[str, Any]:
        """Read a scan and return its case id and its report.

        Args:
            file: a zip of a DICOM folder, a DICOM file or a NIfTI file.
            request: who asks; filled in by the server.
        """
        owner, path = _owner(request), Path(file.path)
        try:
            case = desk.add_path(owner, path)
        except KNOWN as error:
            raise gr.Error(str(error), print_exception=False) from None
        finally:
            path.unlink(missing_ok=True)
        if case.state == "refused":
            raise gr.Error(case.intake["title"], print_exception=False)
        job = desk.read(case.id, owner)
        while job.state in ACTIVE:
            time.sleep(POLL_S)
            job = desk.jobs.job(job.id)
        if job.state != "done":
            raise gr.Error(job.message or job.state, print_exception=False)
        return {"case": case.id, "report": desk.opened(case.id, owner).report.model_dump(mode="json", by_alias=True)}

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

    for function in (read, ask, query):
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
