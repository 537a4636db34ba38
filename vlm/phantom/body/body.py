"""A whole body by seed: person, phase and grid in; scan, label map and masks out."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from vlm.ct.volume import Grid, Point
from vlm.phantom.body.frame import Frame
from vlm.phantom.body.person import Person
from vlm.phantom.body.scene import Scene
from vlm.phantom.body.skeleton import Skeleton
from vlm.phantom.body.tissues import Phase, Tissues
from vlm.phantom.body.trunk import Trunk
from vlm.phantom.body.walls import Walls


def grid_of(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], centre_mm: Point) -> Grid:
    """A grid along the axes of the patient round a point."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = np.asarray(centre_mm) - (np.asarray(shape) - 1) / 2 * np.asarray(spacing_mm)
    return Grid(shape, affine)


def draw(person: Person, grid: Grid, phase: Phase = "portal", log=None) -> Scene:
    """Paint a person on a grid."""
    t = perf_counter()
    moved = {"trabecular": -2.0 * (person.age - 50), "fat_inside": 0.0}
    frame = Frame(person.scale, person.seed)
    scene = Scene(grid, frame, Tissues(phase, person.seed, moved=moved), person.seed)
    trunk = Trunk(person)
    trunk.build(scene)
    def tick(n):
        nonlocal t
        if log is not None: log[n] = round(perf_counter() - t, 2)
        t = perf_counter()
    tick("base")
    Walls(scene, trunk).draw(); tick("walls")
    for n, part in PARTS: part(scene, trunk).draw(); tick(n)
    Skeleton(scene, trunk).draw(); tick("bones")
    return scene
from vlm.phantom.body.abdomen import Abdomen
from vlm.phantom.body.thorax import Thorax
PARTS = [("thorax",Thorax),("abdomen",Abdomen)]
