"""How a run of the command line ends: each error is one line on stderr and an exit code, and nothing is left behind.

Exit codes: 0 done, 2 usage, 3 input refused, 4 internal; 128 and the signal's number where the run was stopped (130 by
Ctrl-C).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import typer

from vlm import scratch
from vlm.errors import TomoscribeError

WrongWords: Any = typer.BadParameter.__mro__[1]  # what the parser raises for any fault of a command's words
STOPS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))


def run_to_its_end(app: typer.Typer) -> NoReturn:
    """Run a command line and end the process as its outcome asks."""
    for number in STOPS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):  # others were set on purpose
            signal.signal(number, _stop)
    try:
        code = _code_of(app)
    finally:
        if _stopped:  # threads at work are not waited for, and could only write into what is removed now
            scratch.remove_all()
            with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
                sys.stdout.flush()
            os._exit(128 + _stopped[0])
    raise SystemExit(code)


def _code_of(app: typer.Typer) -> Any:
    """Run a command line; the exit code, after its error was told in a line. A run that is stopped tells none."""
    try:
        return app(standalone_mode=False) or 0
    except SystemExit as end:
        return end.code
    except TomoscribeError as error:
        typer.echo(str(error), err=True)
        return error.exit_code
    except typer.Abort:  # Ctrl-C at a prompt, or nobody there to answer it
        if not _stopped:
            typer.echo("E_USAGE: the input ended, expected an answer. Run it at a terminal.", err=True)
        return 2
    except WrongWords as fault:
        typer.echo(usage_line(fault), err=True, nl=bool(fault.format_message()))
        return 2
    except Exception as fault:  # the outermost edge: a traceback helps developers, not users
        if _stopped or os.environ.get("TOMOSCRIBE_DEBUG"):
            raise
        typer.echo(internal_line(fault), err=True)
        return 4


_stopped: list[int] = []  # the signal that stopped the run


def _stop(number: int, _: FrameType | None) -> NoReturn:
    """Unwind the run, so that every block that tidies up does; a second Ctrl-C would only hinder that."""
    for each in STOPS:
        signal.signal(each, signal.SIG_IGN)
    _stopped.append(number)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def usage_line(fault: Any) -> str:
    """What is wrong with the words of a command, an example of right ones, and where they are told: one line.

    Args:
        fault: what the parser raised; its type has no public name.
    """
    what = " ".join(fault.format_message().split()).rstrip(".?").replace(". Did you mean", ", did you mean")
    if not what:  # a group of commands without one: its help was printed instead
        return ""
    command = None if fault.ctx is None else fault.ctx.command
    right = "a line as the help tells"  # the parser does not say which command lacks an option's value
    if command is not None:
        right = f"a line such as `{command.epilog}`" if command.epilog else f"one of {', '.join(command.commands)}"
    verb = "tomoscribe" if command is None else fault.ctx.command_path
    return f"E_USAGE: {what[:1].lower()}{what[1:]}, expected {right}. Run `{verb} --help`."


def internal_line(fault: Exception) -> str:
    """A fault of ours, with the place in the code where it happened."""
    place = fault.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else "unknown place"
    return (
        f"E_INTERNAL: {type(fault).__name__} at {where}. This is a fault of tomoscribe; "
        "run again with TOMOSCRIBE_DEBUG=1 and report what it prints."
    )
