"""``tomoscribe ask``: one question, or a conversation of many, about a scan or a report of one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.library import library_for_reading
from app.commands.options import (
    AnsweringModel,
    AsJson,
    KnownPath,
    Learned,
    LibraryFolder,
    Prior,
    RemoteModel,
    Series,
    WordsCheckpoint,
)
from app.commands.terminal import named_steps, put_json
from app.commands.training import tower
from vlm.errors import UsageError

if TYPE_CHECKING:
    from app.known import Known
    from vlm.language.conversation import Conversation
    from vlm.language.events import Question

Numbers = tuple[float, ...]


def ask(
    path: KnownPath,
    question: Annotated[
        str | None, typer.Argument(metavar="[QUESTION]", help="In anyone's words; a conversation when left out.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="X,Y,Z", help="A point that the question is about, RAS mm.")
    ] = None,
    box: Annotated[
        str | None, typer.Option("--box", metavar="X,Y,Z,X,Y,Z", help="Two corners of a box instead, RAS mm.")
    ] = None,
    line: Annotated[
        str | None, typer.Option("--line", metavar="X,Y,Z,X,Y,Z", help="Two ends of a line instead, RAS mm.")
    ] = None,
    session: Annotated[
        Path | None, typer.Option("--session", metavar="FILE", help="A conversation to go on with; written again.")
    ] = None,
    prior: Prior = None,
    series: Series = None,
    model: AnsweringModel = "none",
    remote_model: RemoteModel = False,
    encoder: WordsCheckpoint = None,
    adapter: Learned = None,
    library: LibraryFolder = None,
    as_json: AsJson = False,
) -> None:
    """Answer questions about a scan in sentences that are cited and checked; each answer streams as it is found.

    Without a QUESTION, questions are read from the terminal, or a line at a time from a pipe.
    """
    from app.asking import answering_model, load_session, make_ready, opened, save_session
    from app.known import know

    point, corners, ends = numbers("--at", at, 3), numbers("--box", box, 6), numbers("--line", line, 6)
    answers, seen = answering_model(model, remote=remote_model), tower(encoder, adapter)
    if not (path / "report.json").is_file():
        make_ready()  # while the scan is read
    with named_steps(as_json) as progress:
        known = know(path, series=series, prior=prior, progress=progress)
    scene = opened(known, encoder=seen, library=library_for_reading(library))
    talk = load_session(known, session or Path("-none-"), model=answers, scene=scene)
    for text in [question] if question is not None else asked(as_json):
        if question is None and not as_json and not sys.stdin.isatty():
            typer.echo(f"> {text}")  # of a pipe: which answer is whose
        answer(known, talk, pointed(text, point, corners, ends), as_json=as_json, lines=question is None)
        if session is not None:
            save_session(known, talk, session)


def asked(as_json: bool) -> Iterator[str]:
    """Questions as they are typed; an empty line or the end of the input ends the conversation."""
    watched = sys.stdin.isatty() and not as_json
    if watched:
        typer.echo("Ask about this case; an empty line ends.", err=True)
    while True:
        if watched:
            typer.echo("> ", nl=False, err=True)
        text = sys.stdin.readline()
        if not text.strip():
            return
        yield text.strip()


def answer(known: Known, talk: Conversation, question: Question, *, as_json: bool, lines: bool) -> None:
    """Print an answer as it comes; as JSON whole, a line each in a conversation."""
    from app.asking import answer_of
    from app.showing import show_event

    events = []
    for event in talk.answer(question):
        events.append(event)
        if not as_json:
            show_event(event)
    if as_json:
        told = answer_of(known, talk, question, events)
        if lines:
            typer.echo(json.dumps(told, ensure_ascii=False))
        else:
            put_json(told)


def pointed(text: str, point: Numbers | None, box: Numbers | None, line: Numbers | None) -> Question:
    """A question with what it points at."""
    from vlm.language.events import Question

    def two(six: Numbers) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        a, b, c, d, e, f = six
        return (a, b, c), (d, e, f)

    at = None if point is None else (point[0], point[1], point[2])
    return Question(
        text=text, point=at, box=None if box is None else two(box), line=None if line is None else two(line)
    )


def numbers(option: str, text: str | None, count: int) -> Numbers | None:
    """Numbers of an option, apart by commas.

    Raises:
        UsageError: there are more or fewer, or one is none.
    """
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.replace(";", ",").split(","))
    except ValueError:
        found = ()
    if len(found) != count or not all(abs(value) < 1e5 for value in found):
        raise UsageError(f"E_USAGE: {option} is {text[:40]!r}, expected {count} numbers in mm, apart by commas.")
    return found
