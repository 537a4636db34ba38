"""An earlier scan of the same body, with known change: what grew, shrank, is new, or is gone.

The person is the same; the noise, the place on the table and the cut of the grid are others. What
is said in words counts ("new 6 mm nodule", "larger than before", "resolved effusion"); what is not said
is drawn by chance from the seed. The truth of the change is read off what was drawn in both scans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm.ct.volume import Grid, as_point
from vlm.findings.mentions import Change
from vlm.phantom.body import Body, body
from vlm.phantom.body.tissues import Phase
from vlm.phantom.body.wishes import Wish
from vlm.phantom.chest import Phantom, Truth

VISIT = 1  # of the earlier scan; the scan itself is visit 0
CHANCES: dict[Change, float] = {"larger": 0.35, "new": 0.2, "unchanged": 0.2, "smaller": 0.1, "resolved": 0.15}
# The size before as a share of the size now; Fleischner 2017 calls 2 mm of a nodule growth
GROWN, SHRUNK = (0.4, 0.7), (1.3, 1.6)
LASTING = frozenset({"aortic_calcification", "coronary_artery_calcification", "emphysema", "hiatal_hernia"})
TABLE_MM = (15.0, 20.0, 40.0)  # how far the person may lie from where they lie in the scan
SAME = 0.02  # a size that differs by less is drawn from the same request


def with_changes(wishes: Sequence[Wish], seed: int) -> list[Wish]:
    """The wishes, each with its change; what is new or gone stands last, so that the rest is drawn alike."""
    rng = np.random.default_rng([seed, 23])
    names = tuple(CHANCES)
    drawn = rng.choice(len(names), size=len(wishes), p=tuple(CHANCES.values()))
    told = [
        wish if wish.change else replace(wish, change=_likely(wish.finding, names[int(chance)]))
        for wish, chance in zip(wishes, drawn, strict=True)
    ]
    return sorted(told, key=lambda wish: wish.change in ("new", "resolved"))


def _likely(finding: str, change: Change) -> Change:
    """What does not heal neither shrinks nor goes."""
    return "unchanged" if finding in LASTING and change in ("smaller", "resolved") else change


def current(wishes: Sequence[Wish]) -> list[Wish]:
    """What the scan itself shows."""
    return [wish for wish in wishes if wish.change != "resolved"]


def earlier(scanned: Body, wishes: Sequence[Wish], phase: Phase) -> Body:
    """The earlier scan of a body that was drawn with ``current(wishes)``."""
    rng = np.random.default_rng([scanned.person.seed, 29])
    first = {truth.wish: truth for truth in reversed(scanned.truth)}
    before = [
        _before(wish, first.get(wish.number), scanned, rng)
        for wish in wishes
        if wish.change != "new" and (wish.number in first or wish.change == "resolved")
    ]
    grid = scanned.volume.grid
    cut = grid.affine.copy()
    cut[:3, 3] += rng.uniform(-1, 1, 3) * (4.0, 4.0, 6.0)
    made = body(
        seed=scanned.person.seed, phase=phase, grid=Grid(grid.shape, cut), findings=before, visit=VISIT,
        skip_impossible=True,
    )  # fmt: skip
    return moved(made, offset_mm(rng))


def offset_mm(rng: np.random.Generator) -> NDArray[np.float64]:
    """How the person lay elsewhere on the table then, RAS mm."""
    return np.asarray(rng.uniform(-1, 1, 3) * TABLE_MM)


def share_before(change: Change | None, rng: np.random.Generator) -> float:
    """The size then as a share of the size now."""
    share = float(rng.uniform(*(GROWN if change == "larger" else SHRUNK)))
    return share if change in ("larger", "smaller") else 1.0


def _before(wish: Wish, now: Truth | None, scanned: Body, rng: np.random.Generator) -> Wish:
    """What was there then: the same request, of another size where it changed."""
    share = share_before(wish.change, rng)
    if now is None:  # resolved: as it was asked for
        return wish
    wish = replace(wish, centre_mm=scanned.centres.get(wish.number))
    if wish.change not in ("larger", "smaller"):
        return wish
    unit = {"diameter": "mm", "volume": "ml", "fraction": "percent"}.get(now.quantity)
    sizes: dict[str, Any] = {"mm": None, "ml": None, "percent": None}
    return replace(wish, **(sizes | {unit: now.value * share})) if unit else wish


def moved(scanned: Body, offset: NDArray[np.float64]) -> Body:
    """The same scan of a person who lies elsewhere on the table."""
    grid = _shifted(scanned.volume.grid, offset)
    return replace(
        scanned, volume=replace(scanned.volume, grid=grid), truth=_truths(scanned.truth, offset),
        findings={name: replace(mask, grid=grid) for name, mask in scanned.findings.items()},
    )  # fmt: skip


def moved_scan(made: Phantom, offset: NDArray[np.float64]) -> Phantom:
    """As ``moved``, of a scan with findings put in."""
    grid = _shifted(made.volume.grid, offset)
    return Phantom(
        replace(made.volume, grid=grid), {name: replace(mask, grid=grid) for name, mask in made.masks.items()},
        _truths(made.truth, offset),
    )  # fmt: skip


def _shifted(grid: Grid, offset: NDArray[np.float64]) -> Grid:
    affine = grid.affine.copy()
    affine[:3, 3] += offset
    return Grid(grid.shape, affine)


def _truths(truths: Sequence[Truth], offset: NDArray[np.float64]) -> list[Truth]:
    return [replace(truth, centre_mm=as_point(np.add(truth.centre_mm, offset))) for truth in truths]


def changes(now: Sequence[Truth], before: Sequence[Truth]) -> list[dict[str, Any]]:
    """What changed, finding by finding: both sizes, both masks, and the word for it."""
    pairs = {_key(now, truth): [truth, None] for truth in now}
    for truth in before:
        pairs.setdefault(_key(before, truth), [None, None])[1] = truth
    return [_change(one, other) for one, other in pairs.values()]


def _key(truths: Sequence[Truth], truth: Truth) -> tuple[int | None, str, int]:
    """Which request a truth came from, and the how-manyth of its kind it is in it."""
    alike = [each for each in truths if (each.wish, each.finding) == (truth.wish, truth.finding)]
    return truth.wish, truth.finding, alike.index(truth)


def _change(now: Truth | None, before: Truth | None) -> dict[str, Any]:
    known = now or before
    assert known is not None
    word: Change
    if now is None or before is None:
        word = "new" if now else "resolved"
    elif abs(now.value - before.value) <= SAME * now.value:
        word = "unchanged"
    else:
        word = "larger" if now.value > before.value else "smaller"
    return {
        "finding": known.finding, "side": known.side, "site": known.site, "change": word, "quantity": known.quantity,
        "now": now and now.value, "before": before and before.value,
        "mask": now and now.mask, "prior_mask": before and before.mask,
    }  # fmt: skip
