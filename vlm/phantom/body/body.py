"""A whole body by seed: person, phase and grid in; scan, label map and masks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlm.ct.volume import Grid, Mask, Point, Scan, Volume
from vlm.phantom.body.abdomen import Abdomen
from vlm.phantom.body.findings import note_incidental, numbered, put_in, sicken
from vlm.phantom.body.frame import Frame
from vlm.phantom.body.labels import NAME, NUMBER
from vlm.phantom.body.patient import Patient
from vlm.phantom.body.person import Person
from vlm.phantom.body.scanner import Exposure, expose
from vlm.phantom.body.scene import Scene
from vlm.phantom.body.skeleton import Skeleton
from vlm.phantom.body.slab import finer, masks_of, middles, sub_slices
from vlm.phantom.body.thorax import Thorax
from vlm.phantom.body.tissues import Phase, Tissues
from vlm.phantom.body.trunk import Trunk
from vlm.phantom.body.walls import Walls
from vlm.phantom.body.wishes import Wish
from vlm.phantom.chest import Truth

REGIONS: dict[str, tuple[float, float]] = {  # heights of the reference body, mm
    "chest": (165.0, 520.0), "abdomen": (-160.0, 315.0), "trunk": (-170.0, 520.0), "all": (-230.0, 590.0),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Body:
    """A scanned body: the scan, a number a voxel, and who it is."""

    person: Person
    volume: Volume
    labels: NDArray[np.uint8]  # (X, Y, Z), numbers of ``labels.NUMBER``
    findings: dict[str, Mask]  # by the name that its Truth gives
    truth: list[Truth]
    centres: dict[int, Point]  # by number of the wish: where what has a centre was put, RAS mm
    refused: tuple[str, ...]  # why findings that were asked for are not there

    def mask(self, name: str) -> Mask:
        """One structure; empty when it lies outside the field of view."""
        return Mask(name, self.labels == NUMBER[name], self.volume.grid)

    @property
    def names(self) -> tuple[str, ...]:
        """The structures with at least one voxel."""
        return tuple(NAME[int(n)] for n in np.unique(self.labels) if n)


def grid_of(
    person: Person, region: str, spacing_mm: tuple[float, float, float], field_mm: tuple[float, float] | None = None
) -> Grid:
    """The grid that holds a region of a person; ``field_mm`` is its width and depth."""
    low, high = (height * person.scale[2] for height in REGIONS[region])
    reach = (
        1.06 * (380 * person.scale[0] + 1.7 * person.fat_mm),
        1.10 * (258 * person.scale[1] + 1.3 * person.fat_mm + 30),
    )
    size = (*(field_mm or reach), high - low)
    shape = tuple(max(8, round(mm / step)) for mm, step in zip(size, spacing_mm, strict=True))
    centre: Point = (0.0, -4.0, (low + high) / 2)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = np.asarray(centre) - (np.asarray(shape) - 1) / 2 * np.asarray(spacing_mm)
    return Grid((shape[0], shape[1], shape[2]), affine)


def draw(person: Person, grid: Grid, phase: Phase, *, ailing: Patient | None = None) -> Scene:
    """Paint a person on a grid, from the skin to the bones; no scanner yet. ``ailing`` is the person with ailments."""
    ailing = ailing or Patient(person, phase)
    person = ailing.person
    moved = {"trabecular": -2.0 * (person.age - 50), **ailing.moved}  # Pickhardt 2013: about 2 HU a year
    frame = Frame(person.scale, person.seed)
    for push in ailing.pushes:
        frame.push(push.centre, push.reach, push.mm)
    scene = Scene(grid, frame, Tissues(phase, person.seed, moved=moved), person.seed)
    trunk = Trunk(person)
    trunk.build(scene)
    for part in (Walls, Thorax, Abdomen, Skeleton):
        part(scene, trunk).draw()
    return scene


def body(
    *,
    seed: int,
    phase: Phase = "portal",
    region: str = "trunk",
    spacing_mm: tuple[float, float, float] = (0.8, 0.8, 1.5),
    exposure: Exposure | None = None,
    grid: Grid | None = None,
    findings: Sequence[str | Wish] = (),
    visit: int = 0,
    skip_impossible: bool = False,
) -> Body:
    """A body by seed. The same arguments give the same bytes.

    Args:
        region: a key of REGIONS; ``grid`` is used instead when given.
        exposure: how it is scanned; by chance from the seed when not given.
        findings: what ails the person, in words: "12 mm solid nodule, left upper lobe".
        visit: another one is the same person with other noise.
        skip_impossible: a finding that cannot be in this person is left out and told in ``refused``.

    Raises:
        UsageError: a finding is not understood, or impossible in this person, phase or field of view.
    """
    wishes = numbered(findings)
    person = Person.of(seed)
    grid = grid or grid_of(person, region, spacing_mm)
    exposure = exposure or Exposure.of(seed, visit)
    count = sub_slices(grid, exposure.slice_mm)
    refused: list[str] = []
    left_out = refused if skip_impossible else None
    ailing = sicken(Patient(person, phase), wishes, left_out)
    person = ailing.person
    scene = draw(person, finer(grid, count), phase, ailing=ailing)
    drawing = put_in(scene, ailing, wishes, left_out)
    note_incidental(drawing)
    hu = expose(scene, exposure, visit, count=count)
    scan = Scan(
        source="phantom",
        kernel=exposure.kernel,
        contrast=phase != "plain",
        slice_thickness_mm=exposure.slice_mm or grid.spacing_mm[2],
        tube_voltage_kv=120.0,
        patient_position="HFS",
    )
    named = {name: Mask(name, voxels.T, grid) for name, voxels in masks_of(drawing.masks, count).items()}
    volume = Volume(hu.T, grid, scan)
    return Body(person, volume, middles(scene.labels, count).T, named, drawing.truth, drawing.centres, tuple(refused))
