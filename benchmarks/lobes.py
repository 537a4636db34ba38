"""Lobes told from fissures: against drawn bodies, and how often they are told of real lungs.

    tomoscribe phantom COHORT --cohort 40 --prevalence ct-rate --split test
    python -m benchmarks.lobes COHORT [--cases 40] [--write-docs]

Of bodies: Dice of each lobe, how often it is told, and of places that are strewn over the lungs the share told the
right lobe, no lobe, a wrong one. The trivial baseline tells a lobe by thirds of the lung's height. Of real scans no
lobes are known: there stands in how many lungs a fissure is believed, and in how many of the same lungs mirrored front
to back, where a believed one is false.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from app.measuring.intervals import wilson
from benchmarks.limits import HOSTS
from benchmarks.real_scans import scan_path
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.anatomy.fissures import Fissures, fissures, of_lung
from vlm.anatomy.lobes import NAMES, lobe_of, lobes
from vlm.anatomy.lungs import SIDES, lungs
from vlm.ct.read import read
from vlm.ct.volume import Grid, Mask, Volume
from vlm.evidence import Case

SPOTS, RADIUS_MM = 40, 6.0  # a lung
THIRDS = ("lower_lobe", "middle_lobe", "upper_lobe")
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Body:
    """What was told of one drawn body."""

    dice: dict[str, float]  # by TotalSegmentator's name, of lobes that were told
    right: int
    wrong: int
    silent: int
    thirds: int  # right by the trivial baseline


def of_body(folder: Path, rng: np.random.Generator) -> Body:
    """Lobes of one case of a cohort against its drawn labels."""
    case = Case(read(folder / "scan").volume)
    drawn = nib.load(folder / "labels.nii.gz")  # type: ignore[attr-defined]  # nibabel exports it untyped
    names = {name: int(n) for n, name in json.loads((folder / "labels.json").read_text(encoding="utf-8")).items()}
    labels = np.asarray(drawn.dataobj)
    truth = {
        name: Mask(name, labels == names[name], Grid(labels.shape, drawn.affine)).on(case.working.grid).voxels
        for name in NAMES
    }
    told = {name: dice(mask.voxels, truth[name]) for name, mask in lobes(case).items()}
    counts = dict.fromkeys(("right", "wrong", "silent", "thirds"), 0)
    for side in SIDES:
        own = {name: lobe for name, (lung, lobe) in NAMES.items() if lung == side}
        lung = lungs(case).of(side).voxels & np.any([truth[name] for name in own], axis=0)
        levels = np.flatnonzero(lung.any(axis=(0, 1)))
        for at in rng.permutation(np.argwhere(lung))[:SPOTS]:
            true = next(lobe for name, lobe in own.items() if truth[name][tuple(at)])
            said = lobe_of(case, side, spot(case.working.grid, at))
            counts["silent" if said is None else "right" if said == true else "wrong"] += 1
            third = THIRDS[min(2, int(3 * (at[2] - levels[0]) / (levels[-1] - levels[0] + 1)))]
            counts["thirds"] += ("upper_lobe" if side == "left" and third == "middle_lobe" else third) == true
    return Body(dice=told, **counts)


def spot(grid: Grid, at: NDArray[np.int_]) -> Mask:
    """A ball around a voxel."""
    reach = np.ceil(RADIUS_MM / np.asarray(grid.spacing_mm)).astype(int)
    around = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    ball = at + around[np.linalg.norm(around * grid.spacing_mm, axis=1) <= RADIUS_MM]
    ball = ball[np.all((ball >= 0) & (ball < grid.shape), axis=1)]
    voxels = np.zeros(grid.shape, dtype=bool, order="F")
    voxels[tuple(ball.T)] = True
    return Mask("spot", voxels, grid)


def dice(one: Bools, other: Bools) -> float:
    """Twice the overlap over both volumes."""
    return 2 * int((one & other).sum()) / max(1, int(one.sum()) + int(other.sum()))


def of_scans() -> list[tuple[str, str, bool, bool, bool]]:
    """(scan, side, oblique believed, horizontal believed, oblique believed where mirrored) of every real lung."""
    rows = []
    for name in HOSTS:
        case = Case(read(scan_path(name)).volume)
        for side, seen in fissures(case).items():
            lung, apex = lungs(case).of(side), lungs(case).apex_covered[side]
            mirror = of_lung(mirrored(case.volume), Mask(lung.name, lung.voxels, behind(lung.grid)), side, apex)
            rows.append((name, side, *believed(seen), believed(mirror)[0]))
    return rows


def believed(seen: Fissures) -> tuple[bool, bool]:
    """Whether the oblique and the horizontal fissure are."""
    return seen.oblique is not None, seen.horizontal is not None


def behind(grid: Grid) -> Grid:
    """The grid with front and back exchanged."""
    return Grid(grid.shape, np.diag([1.0, -1.0, 1.0, 1.0]) @ grid.affine)


def mirrored(volume: Volume) -> Volume:
    """The scan with front and back exchanged."""
    return Volume(volume.hu, behind(volume.grid), volume.scan, volume.padding)


def share(hits: int, of: int) -> str:
    """A share with its interval."""
    low, high = wilson(hits, of)
    return f"{hits} of {of}: {hits / max(1, of):.2f} ({low:.2f}-{high:.2f})"


def table(bodies: Sequence[Body], scans: Sequence[tuple[str, str, bool, bool, bool]]) -> str:
    """Both tables in Markdown."""
    lines = ["| lobe | told, of the bodies | Dice, mean (least) |", "|---|---|---|"]
    for name in NAMES:
        own = [body.dice[name] for body in bodies if name in body.dice]
        value = f"{np.mean(own):.3f} ({min(own):.3f})" if own else "-"
        lines.append(f"| {name} | {len(own)} of {len(bodies)} | {value} |")
    right, wrong, silent, thirds = (
        sum(getattr(body, what) for body in bodies) for what in ("right", "wrong", "silent", "thirds")
    )
    spots = right + wrong + silent
    plain, mirror = (share(sum(row[n] for row in scans), len(scans)) for n in (2, 4))
    level = share(sum(row[3] for row in scans), sum(row[1] == "right" for row in scans))
    lines += [
        "",
        f"Places of {2 * RADIUS_MM:.0f} mm across, strewn over both lungs: the right lobe {share(right, spots)}, a "
        f"wrong one {share(wrong, spots)}, none {share(silent, spots)}. By thirds of the lung's height "
        f"{share(thirds, spots)} are right. Places of one body are not independent: true intervals are wider.",
        "",
        f"Real lungs: the oblique fissure is believed in {plain}, mirrored front to back in {mirror}; the horizontal "
        f"one in {level} right lungs.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--write-docs", action="store_true")
    given = parser.parse_args()
    rng = np.random.default_rng(7)
    folders = sorted(given.cohort.glob("case-*"))[: given.cases]
    text = table([of_body(folder, rng) for folder in folders], of_scans())
    text += f"\n\n{len(folders)} bodies of the seeds for tests. {stamp('python -m benchmarks.lobes COHORT')}"
    print(text)
    if given.write_docs:
        write_section(ROOT / "docs" / "anatomy.md", "lobes", text)


if __name__ == "__main__":
    main()
