"""Which engines there are, by name, and what a user's word for one means."""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from vlm.anatomy.engines.embedded import embedded
from vlm.anatomy.engines.labels import from_file
from vlm.anatomy.engines.nnunet import nnunet
from vlm.anatomy.engines.protocol import Engine, LabelMap, MapEngine, Segmenter
from vlm.anatomy.engines.rules import Rules
from vlm.anatomy.engines.totalsegmentator import totalsegmentator
from vlm.errors import UsageError, shown
from vlm.evidence import Case

GROUP = "tomoscribe.anatomy"  # entry points: name -> a callable without arguments that gives a Segmenter
WITH_PATH = ("labels:FILE", "nnunet:FOLDER")  # engines that a user names with a path


@functools.cache
def engines() -> dict[str, Engine]:
    """Every engine that needs no path, by name: ours, then plug-ins; on or off."""
    own: list[Engine] = [Rules(), embedded(), totalsegmentator()]
    plugged = [_plugged(point) for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)]
    return {engine.name: engine for engine in (*plugged, *own)}  # a plug-in never takes the name of one of ours


def named(word: str) -> Engine:
    """The engine that a user names: one of ``engines()``, "labels:FILE" or "nnunet:FOLDER".

    Raises:
        UsageError: there is no such engine, or it is off; one line says how to turn it on.
    """
    kind, _, rest = word.partition(":")
    engine: Engine
    if kind == "labels" and rest:
        engine = from_file(Path(rest))
    elif kind == "nnunet" and rest:
        engine = nnunet(Path(rest))
    elif word in engines():
        engine = engines()[word]
    else:
        known = ", ".join((*engines(), *WITH_PATH))
        raise UsageError(f"E_USAGE: --anatomy is {shown(word)}, expected one of {known}.")
    off = engine.off()
    if off is not None:
        raise UsageError(f"E_USAGE: --anatomy {kind} is off: {off.reason}. {off.remedy}.")
    return engine


def _plugged(point: EntryPoint) -> Engine:
    """A plug-in as an engine.

    Raises:
        UsageError: it does not load, or is no Segmenter.
    """
    try:
        made: Segmenter = point.load()()
        name, version, structures = str(made.name), str(made.version), frozenset(made.structures)
    except Exception as fault:  # the edge of other people's code
        raise UsageError(
            f"E_USAGE: the plug-in {shown(point.name)} of {GROUP} fails with {type(fault).__name__}. Uninstall it."
        ) from fault

    def label(case: Case) -> LabelMap:
        return made.segment(case.volume)

    return MapEngine(name=name, version=version, label=label, structures=structures, vouched=True, check=made.off)
