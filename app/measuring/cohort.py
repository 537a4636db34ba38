"""The tools run over a cohort: parallel, resumable, one bad case told and skipped.

What the tools saw of a case is remembered in ``COHORT/measured``, under a name that changes with the code
of anatomy and tools, and so are the numbers that heads look at, under a name of their own: networks that are
taught anew leave the tools alone. Matching and counting are done anew each time.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from app.measuring.figures import figures
from app.measuring.matching import rows_of
from app.measuring.stamp import stamp
from app.measuring.table import markdown
from vlm.errors import TomoscribeError, UsageError
from vlm.evidence import Case, Observation, Search
from vlm.tools import load_tools
from vlm.workers import in_parallel

Progress = Callable[[int, int], None]  # cases that are read, cases in all
LOOKED_AT = (  # of vlm/encoder: what the shipped heads look at
    "measures", "scene", "forms", "chest_measures", "lung_forms", "belly_measures", "gut_measures", "cell_features",
    "cells",
)  # fmt: skip
# Who finds a structure is the engine in use, as in read.
WEIGHTS = ("anatomy/quality.json", "anatomy/network.safetensors")
NETWORKS = "encoder/cells.safetensors"  # that heads look through
SCHEMA = "tomoscribe-measured/1"
# Conditions that a miss is a miss under: a denial names the part; what was missed before is measured again.
STANDING = frozenset(("partly_covered", "not_measured", "often_missed"))
# Conditions that are said of one structure by a tool that looked through another: wide ducts within the liver.
ASIDE = {("ducts", "biliary_dilatation"): frozenset(("poor_outline",))}


def measure(
    cohort: Path,
    *,
    command: str,
    tools: frozenset[str] = frozenset(),
    outlined: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run the tools over the cases of a cohort, count, and write figures.json and figures.md beside the cases.

    Args:
        cohort: a folder with ``case-*/scan`` and ``case-*/truth.json``.
        command: what the figures say that they were made by.
        tools: names of tools; all when empty.
        outlined: structures are those of ``labels.nii.gz`` beside each scan, as of a user's own engine.
        workers: processes; one a processor when 0.

    Returns:
        The figures, ready for JSON; ``tools`` is what tools declare as their limits.

    Raises:
        UsageError: the folder holds no case, or no tool has such a name.
    """
    known = load_tools()
    if unknown := sorted(tools - set(known)):
        raise UsageError(f"E_USAGE: --tool is {unknown[0]!r}, expected one of {', '.join(known)}.")
    cases = sorted(path.parent for path in cohort.glob("case-*/truth.json"))
    if not cases:
        raise UsageError(
            f"E_USAGE: {cohort.name} holds no case-*/truth.json, expected a cohort. Make one: tomoscribe phantom."
        )
    hosts = sorted(path for path in cohort.glob("hosts/*") if not path.name.startswith("."))
    seen, failed = _read_all(cohort, [*hosts, *cases], tools, outlined, workers, progress)
    rows = []
    for case in cases:
        truth = json.loads((case / "truth.json").read_text(encoding="utf-8"))
        host = truth.get("host")
        if case in seen and (host is None or cohort / "hosts" / host in seen):
            before = seen[cohort / "hosts" / host] if host else None
            rows += rows_of(case.name, truth, seen[case], before)
    document = {
        "schema": SCHEMA,
        "made_by": stamp(command),
        "version": version("tomoscribe"),
        "cohort": _settings(cohort),
        "cases": len(cases) - len(failed.keys() & {case.name for case in cases}),
        "failed": failed,
        "tools_failed": dict(sorted(Counter(name for each in seen.values() for name in each["failures"]).items())),
        "tools": figures(rows, stamp(command), {"outlined": True} if outlined else {}),
    }
    (cohort / "figures.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (cohort / "figures.md").write_text(markdown(document) + "\n", encoding="utf-8")
    return document


def _settings(cohort: Path) -> Any:
    path = cohort / "cohort.json"
    return json.loads(path.read_text(encoding="utf-8"))["settings"] if path.is_file() else None


def _read_all(
    cohort: Path, folders: list[Path], tools: frozenset[str], outlined: bool, workers: int, progress: Progress | None
) -> tuple[dict[Path, Any], dict[str, str]]:
    """What the tools see in each folder's scan, by folder; and why some could not be read."""
    seen: dict[Path, Any] = {}
    failed: dict[str, str] = {}
    kept = cohort / "measured"
    kept.mkdir(exist_ok=True)
    read_one = functools.partial(read_case, kept=kept, tools=tools, outlined=outlined)
    for number, (folder, found) in enumerate(in_parallel(read_one, folders, workers=workers), 1):
        if isinstance(found, str):
            failed[folder.name] = found
        else:
            seen[folder] = found
        if progress:
            progress(number, len(folders))
    return seen, dict(sorted(failed.items()))


def read_case(folder: Path, kept: Path, tools: frozenset[str], outlined: bool = False) -> dict[str, Any] | str:
    """Everything that the tools see in one scan, remembered on disk; or why it could not be read."""
    from app.running import find_anatomy
    from vlm.anatomy.engines.labels import from_file
    from vlm.anatomy.structures import use
    from vlm.ct import read

    name = f"{folder.parent.name}-{folder.name}"
    parts: dict[Path, Callable[[Case], dict[str, Any]]] = {  # where each is remembered, and who finds it
        kept / f"{name}-{tools_state(tools, outlined)}.json": functools.partial(_seen, tools=tools),
        kept / f"{name}-{numbers_state(outlined)}.numbers.json": _numbers,
    }
    if not all(path.is_file() for path in parts):
        try:
            case = Case(read(folder / "scan").volume)
            if outlined:
                use(case, from_file(folder / "labels.nii.gz"))
        except TomoscribeError as error:
            return str(error)
        find_anatomy(case)
        for path, find in parts.items():
            if not path.is_file():
                _keep(find(case), path)
    return {key: value for path in parts for key, value in json.loads(path.read_text(encoding="utf-8")).items()}


def _seen(case: Case, tools: frozenset[str]) -> dict[str, Any]:
    """What the tools see of a case."""
    from app.running import Clock, run_tools, silent

    run = {name: tool for name, tool in load_tools().items() if not tools or name in tools}
    failures = run_tools(case, run, Clock(silent))
    seen, looked, searches = [], set(), []
    for _, record in case.ledger:
        if isinstance(record, Search):
            searches.append(_searched(record))
            if record.looked:
                looked.add((record.tool, record.finding))
        if isinstance(record, Observation) and record.presence != "absent":
            looked.add((record.tool, record.finding))
            seen.append(_observed(record))
    return {
        "observations": seen, "looked": sorted(looked), "searches": searches, "failures": failures,
        "observes": {name: list(tool.observes) for name, tool in run.items()},
    }  # fmt: skip


def _numbers(case: Case) -> dict[str, Any]:
    """What heads look at."""
    from vlm.encoder.measures import measures

    return {"measures": [None if np.isnan(value) else round(float(value), 4) for value in measures(case)]}


def _keep(document: dict[str, Any], path: Path) -> None:
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def _searched(record: Search) -> dict[str, Any]:
    """Where a search looked, and whether it licenses a denial there: only then is what it misses its miss."""
    box = record.region and record.region.box_mm
    standing = STANDING | ASIDE.get((record.tool, record.finding), frozenset())
    return {
        "tool": record.tool, "finding": record.finding, "side": record.side,
        "stands": record.looked and set(record.failed) <= standing,
        "site": record.site, "covered": record.covered, "failed": list(record.failed),
        "low_mm": box and box.low_mm, "high_mm": box and box.high_mm,
    }  # fmt: skip


def _observed(record: Observation) -> dict[str, Any]:
    region = record.region
    return {
        "tool": record.tool, "finding": record.finding, "presence": record.presence, "side": record.side,
        "site": record.site, "measured": {m.quantity: m.value for m in record.measurements},
        "attributes": dict(record.attributes),
        "region": region and {
            "centroid_mm": region.centroid_mm, "low_mm": region.box_mm.low_mm, "high_mm": region.box_mm.high_mm,
        },
    }  # fmt: skip


@functools.cache
def tools_state(tools: frozenset[str] = frozenset(), outlined: bool = False) -> str:
    """A hash of the code, weights and ranks that what tools see depends on."""
    return _state([*sorted(tools), *(["outlined"] if outlined else [])], [*_code("ct", "anatomy", "tools"), *WEIGHTS])


@functools.cache
def numbers_state(outlined: bool = False) -> str:
    """A hash of the code, weights and ranks that what heads look at depends on: no tool is among them."""
    own = [*(f"encoder/{name}.py" for name in LOOKED_AT), NETWORKS]
    return _state(["outlined"] if outlined else [], [*_code("ct", "anatomy"), *WEIGHTS, *own])


def _state(asked: list[str], names: list[str]) -> str:
    digest = hashlib.sha256(json.dumps(asked).encode())
    for path in (_package() / name for name in names):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:12]


def _code(*folders: str) -> list[str]:
    return sorted(str(path.relative_to(_package())) for each in folders for path in (_package() / each).rglob("*.py"))


def _package() -> Path:
    import vlm

    return Path(vlm.__file__).parent
