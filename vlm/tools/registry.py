"""What a tool is, and the list of them.

A tool is one function ``(case) -> list of evidence``. It declares the findings it
observes and the structures it needs; its measured limits stand in ``limits*.json``, one file a
cohort, written by ``benchmarks/limits.py`` from what ``tomoscribe measure`` says. A tool that
cannot look returns a Search that says so; it never returns silence.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from vlm.evidence import Case, Evidence, Measurement

Run = Callable[[Case], list[Evidence]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A registered tool: what it looks for, what it needs, and how to run it."""

    name: str
    observes: tuple[str, ...]  # keys of the vocabulary
    needs: tuple[str, ...]  # names of structures of ``vlm.anatomy``
    version: str
    run: Run

    @property
    def summary(self) -> str:
        """The first line of the tool's docstring."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]


TOOLS: dict[str, Tool] = {}


def tool(
    name: str, *, observes: tuple[str, ...], needs: tuple[str, ...] = (), version: str = "1"
) -> Callable[[Run], Run]:
    """Register ``function(case)`` as a tool under ``name``."""

    def register(function: Run) -> Run:
        if name in TOOLS:
            raise ValueError(f"two tools are named {name!r}")
        TOOLS[name] = Tool(name=name, observes=observes, needs=needs, version=version, run=function)
        return function

    return register


def load_tools() -> dict[str, Tool]:
    """Import every module of this package once and give back the tools by name, in a fixed order."""
    package = importlib.import_module("vlm.tools")
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        importlib.import_module(f"vlm.tools.{module}")
    return dict(sorted(TOOLS.items()))


MANY = 10  # truths in a cohort: fewer, spread over sizes, license none whatever is found
# Chests; bodies; bodies with what those lack; findings put into real scans.
COHORTS = ("limits.json", "limits_bodies.json", "limits_alone.json", "limits_real.json")


@functools.cache
def _limits() -> tuple[Mapping[str, Any], ...]:  # JSON: {"nodules": {"lung_nodule": {"smallest": 6.0, …}}}
    paths = [files("vlm.tools") / name for name in COHORTS]
    return tuple(json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file())


def measured_limit(name: str, finding: str) -> tuple[Measurement | None, float | None]:
    """The smallest size that a tool finds, and the sensitivity from that size on, as measured.

    Where several cohorts were measured, the worst of them speaks; one that holds a few truths of every size says
    nothing beside one that holds many. Returns (None, None) when nobody has measured it, or no size was found often
    enough: a negation then carries that limit.
    """
    told = [cohort[name][finding] for cohort in _limits() if finding in cohort.get(name, {})]
    rows = [row for row in told if not row.get("outlined")]  # in drawn outlines: no engine draws as well
    held = [row for row in rows if row["n"]]  # a cohort that did not hold the finding has false positives alone
    entries = [row for row in held if row["n"] >= MANY] or held
    if not entries or any(entry.get("smallest") is None for entry in entries):
        return None, None
    worst = max(entries, key=lambda entry: float(entry["smallest"]))
    return Measurement(quantity=worst["quantity"], value=worst["smallest"]), float(worst["sensitivity"])


SHOWN = 5  # truths that show what a tool misses
OFTEN = 0.5  # of them found: a denial by a tool below says less than a coin


def doubts(name: str, finding: str) -> tuple[str, ...]:
    """The condition that a tool's denials of a finding stand under: "often_missed", "not_measured", or none.

    Often missed is a finding whose largest truths, at least five of them, were found less than half the time in every
    cohort that holds so many: that nothing was found then says nothing.
    """
    if measured_limit(name, finding)[0] is not None:
        return ()
    rows = [cohort[name][finding]["by_size"] for cohort in _limits() if finding in cohort.get(name, {})]
    largest = [found for row in rows if (found := _found_of_largest(row)) is not None]
    return ("often_missed",) if largest and max(largest) < OFTEN else ("not_measured",)


def _found_of_largest(by_size: Mapping[str, str]) -> float | None:
    """Share found of the largest sizes that together hold enough truths; None where all sizes hold fewer."""
    found = held = 0
    for size in sorted(by_size, key=float, reverse=True):
        here, of = map(int, by_size[size].split("/"))
        found, held = found + here, held + of
        if held >= SHOWN:
            return found / held
    return None


def measured_error(name: str, finding: str) -> float | None:
    """Half width of what holds 95 % of a tool's errors of size, in the unit of that size; None when not measured."""
    rows = [cohort.get(name, {}).get(finding, {}) for cohort in _limits()]
    return max((float(row["error_95"]) for row in rows if row.get("error_95") is not None), default=None)
