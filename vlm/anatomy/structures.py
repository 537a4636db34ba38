"""Where a structure is, by the engine that finds it best: the one place that tools ask.

In: an open case and a name of TotalSegmentator's. Out: a Structure with its mask, its state, who found it and how
well that engine does on patients that it never saw (``quality.json``, written by ``benchmarks/anatomy.py``).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files

from vlm.anatomy.classes import ORGANS
from vlm.anatomy.engines.protocol import PARTS, Engine, Found, State
from vlm.anatomy.engines.registry import engines
from vlm.anatomy.engines.rules import FINDERS
from vlm.ct.volume import Mask
from vlm.errors import UsageError
from vlm.evidence import Case, once

MEASURABLE = 0.80  # least Dice on other patients for a volume, an area or a density of the structure in a report
LEAST_PATIENTS = 3  # measured on fewer, a figure says nothing of the next patient
USABLE = 0.50  # below, the engine does not even say where to look


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """One structure of a case, as the engine chosen for it sees it."""

    name: str
    state: State
    mask: Mask | None = None  # on the volume's or the working grid: ask ``mask.on(grid)``; of "there" and "cut" only
    engine: str = ""  # name and version; "" when nobody looked
    quality: float | None = None  # mean Dice of the engine on patients that it never saw; None: not measured
    vouched: bool = False  # from a map or a model that the user brought
    reason: str = ""  # in words, why it is not simply there

    @property
    def reliable(self) -> bool:
        """Whether what is seen of it may be measured: its density, a diameter."""
        return self.mask is not None and (self.vouched or (self.quality or 0.0) >= MEASURABLE)

    @property
    def measurable(self) -> bool:
        """Whether all of it is in view and may be measured: its volume, its length."""
        return self.state == "there" and self.reliable


def use(case: Case, engine: Engine) -> None:
    """Make an engine the first choice for what it tells; what it does not tell is left to rules.

    Raises:
        ValueError: the case was asked for structures before.
    """
    if case.part(CHOSEN, lambda: engine) is not engine:
        raise ValueError("the structures of this case were asked for before an engine was chosen")


CHOSEN, ASKED = f"{__name__}.chosen", f"{__name__}.asked"


def structure(case: Case, name: str) -> Structure:
    """One structure by TotalSegmentator's name; also "lung_right", "vertebrae", "ribs", "hip" and such wholes of parts.

    Raises:
        UsageError: the engine that the user chose is set up wrongly.
    """
    found = case.part(f"{__name__}.{name}", lambda: _look(case, name))
    asked(case)[name] = found  # type: ignore[assignment]  # what _look gave
    return found  # type: ignore[return-value]


def asked(case: Case) -> dict[str, Structure]:
    """Every structure that anyone asked for so far, by name."""
    return case.part(ASKED, dict)  # type: ignore[return-value]  # what dict gave


def known_names(case: Case) -> tuple[str, ...]:
    """Names that any engine in use here tells, in the order in which a label map takes them."""
    told = frozenset().union(*(engine.names() for engine in _in_use(case)))
    first = [*(name for name in FINDERS if name in told), *(name for name in PARTS if name in told)]
    return tuple(dict.fromkeys((*first, *sorted(told))))


def _look(case: Case, name: str) -> Structure:
    """The word of the best engine; where that one is not to be believed, of the next."""
    best: Structure | None = None
    for engine in _ranked(case, name):
        quality = quality_of(engine.name, name)
        told = _told(engine, case, name, quality)
        seen = Structure(
            name=name, state=told.state, mask=told.mask, engine=f"{engine.name} {engine.version}", quality=quality,
            vouched=engine.vouched, reason=told.reason,
        )  # fmt: skip
        if seen.state != "not believed":
            return seen
        best = best or seen
    return best or Structure(name=name, state="not looked for", reason="no engine that is on tells it")


def _told(engine: Engine, case: Case, name: str, quality: float | None) -> Found:
    if quality is not None and quality < USABLE and not engine.vouched:
        return Found(state="not believed", reason=f"on other patients its Dice is {quality:.2f}")
    try:
        return engine.find(case, name)
    except UsageError as fault:
        if engine is case.part(CHOSEN, lambda: None):
            raise
        return Found(state="not believed", reason=f"{engine.name} failed: {fault}")


def _in_use(case: Case) -> list[Engine]:
    """The user's engine and the rules; without a user's word all that are on."""
    chosen = case.part(CHOSEN, lambda: None)
    if chosen is not None:
        return list(dict.fromkeys([chosen, engines()["rules"]]))  # type: ignore[list-item]  # what use put there
    return [engine for engine in engines().values() if engine.off() is None]


def _ranked(case: Case, name: str) -> list[Engine]:
    """Engines in use that tell a structure, best first: the user's, then by measured quality, then rules."""
    chosen = case.part(CHOSEN, lambda: None)

    def rank(engine: Engine) -> tuple[bool, bool, float, bool]:
        return engine is chosen, engine.vouched, quality_of(engine.name, name) or 0.0, engine.name == "rules"

    able = [engine for engine in _in_use(case) if name in engine.names()]
    measured = [e for e in able if e is chosen or e.vouched or e.name == "rules" or quality_of(e.name, name)]
    return sorted(measured, key=rank, reverse=True)


@functools.cache
def _qualities() -> Mapping[str, Mapping[str, Mapping[str, float]]]:  # {"rules": {"liver": {"dice": 0.81, …}}}
    path = files("vlm.anatomy") / "quality.json"
    if not path.is_file():
        return {}
    told: Mapping[str, Mapping[str, Mapping[str, float]]] = json.loads(path.read_text(encoding="utf-8"))["engines"]
    return told


def quality_of(engine: str, name: str) -> float | None:
    """Mean Dice of a structure by an engine, on real patients that it never saw; None when not measured on enough."""
    row = _qualities().get(engine, {}).get(name)
    return float(row["dice"]) if row is not None and row["patients"] >= LEAST_PATIENTS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Structures:
    """What was found, and what was not."""

    masks: tuple[Mask, ...]
    missing: Mapping[str, str]  # name -> why


def all_structures(case: Case) -> list[Structure]:
    """What every engine in use tells, in the order in which a label map takes it; and the organs that none tells.

    Raises:
        UsageError: the engine that the user chose is set up wrongly.
    """
    names = list(dict.fromkeys((*known_names(case), *ORGANS)))
    with ThreadPoolExecutor(1) as beside:  # from both ends: rules stand at one, what a network tells at the other
        ahead = beside.submit(lambda: [structure(case, name) for name in reversed(names)])
        found = [structure(case, name) for name in names]
        ahead.result()
    return found


@once
def structures(case: Case) -> Structures:
    """All structures of a case that were found, and those that were not.

    Raises:
        UsageError: the engine that the user chose is set up wrongly.
    """
    every = all_structures(case)
    return Structures(
        masks=tuple(seen.mask for seen in every if seen.mask is not None),
        missing={seen.name: seen.reason for seen in every if seen.mask is None},
    )
