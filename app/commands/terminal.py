"""What every verb shows a person who watches, on stderr, and a program, on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer


@contextmanager
def named_steps(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show the step at work on stderr, when somebody watches."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield lambda step: status.update(f"{step} …")


@contextmanager
def counted_cases(quiet: bool, word: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar of cases on stderr, when somebody watches."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("cases {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(word, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def put_json(document: object) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False))
