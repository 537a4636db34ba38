"""Oedema of the fat below the skin: fat that is denser than fat, and strands of fluid in it.

In: body and spine of a Case. Out: an Observation where the whole layer behind the spine and beside it is swollen, or a
Search with the density of that fat. Front and breasts are left out; what swells in one place only (a bruise, an
injection, cellulitis) is not told. Slight oedema looks like thin fat between muscles: it is neither told nor denied.
Arrays here are (Z, Y, X) views of the (X, Y, Z) arrays of the Case.
"""

from __future__ import annotations

from dataclasses import dataclass

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.body import body
from vlm.anatomy.coverage import coverage
from vlm.anatomy.fat import FAT_HU, enclosed
from vlm.anatomy.skeleton import spine
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.registry import tool

NAME = "anasarca"
SITE = "subcutaneous_fat"
SLICES_MM = 10.0  # apart: oedema is everywhere or it is none
FORWARD_MM = 20.0  # of the canal: the layer behind this is judged, where fluid sinks to
SKIN_MM, WALL_MM = 6.0, 4.0  # the layer's own blur with skin and muscle is left out
STRANDS_MM = 12.0  # gaps of fluid within the fat
# Window of fat and mean -100 to -103, SD 5 HU: Rosenquist, JACC Cardiovasc Imaging 2013;6:762.
WINDOW_HU = (-195, -45)
SWOLLEN_HU = -85.0  # three SD above
# Of the layer is denser than any fat; vessels, septa and muscle reached 0.03 to 0.15 in eleven patients without oedema.
FLUID_SHARE, DRY_SHARE = 0.2, 0.1
LEAST_CM2, LEAST_SLICES = 8.0, 5  # of fat in a slice, and slices with so much: less says nothing

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The fat below the skin of the back, in slices apart: ``voxels`` (Z, Y, X), mean HU of its fat, share of fluid."""

    voxels: Bools
    fat_hu: float
    fluid: float


@tool(NAME, observes=("anasarca",), needs=("body", "spine"))
def anasarca(case: Case) -> list[Evidence]:
    """Look for oedema of all the fat below the skin."""
    layer = layer_of(case)
    if layer is None:
        return [search(case, NAME, "anasarca", site=SITE, covered=0.0, failed=("not_found",),
                       note="too little fat below the skin to tell")]  # fmt: skip
    measure = (Measurement(quantity="attenuation", value=layer.fat_hu, plus_minus=5.0),)
    view = max(coverage(case).of("abdomen"), coverage(case).of("chest"))
    signs = (layer.fat_hu >= SWOLLEN_HU, layer.fluid >= FLUID_SHARE)
    if not all(signs):
        doubt = ("not_measured",) if any(signs) or layer.fluid > DRY_SHARE else ()
        return [search(case, NAME, "anasarca", site=SITE, covered=view, failed=doubt, measurements=measure)]
    seen = Observation(
        tool=NAME, finding="anasarca", presence="present", site=SITE, measurements=measure,
        region=case.keep(Mask("subcutaneous_oedema", layer.voxels.T, case.working.grid)),
    )  # fmt: skip
    return [seen, search(case, NAME, "anasarca", site=SITE, covered=view, found=1, measurements=measure)]


def layer_of(case: Case) -> Layer | None:
    """The layer with its density; None without a spine, or where too little of it is as dense as fat."""
    volume, axis = case.working, spine(case)
    if not axis.found:
        return None
    hu, inside, grid = volume.hu.T, body(case).voxels.T, volume.grid
    step_x, step_y, step_z = grid.spacing_mm
    front = grid.to_ijk(axis.canal_mm)[:, 1] + FORWARD_MM / step_y
    voxels = np.zeros(inside.shape, dtype=bool)
    fluid: list[NDArray[np.bool_]] = []
    for k in range(0, len(hu), max(1, round(SLICES_MM / step_z))):
        rows = slice(0, max(0, round(float(front[k]))))
        plane = _layer(hu[k], inside[k], step_y, step_x)
        plane[rows.stop :] = False
        if np.count_nonzero(plane) * step_x * step_y / 100.0 >= LEAST_CM2:
            voxels[k] = plane
            smooth = ndimage.gaussian_filter(np.clip(hu[k], -300, 150).astype(np.float32), (1.5 / step_y, 1.5 / step_x))
            fluid.append(smooth[plane] > WINDOW_HU[1])
    if len(fluid) < LEAST_SLICES:
        return None
    values = hu[voxels]
    fatty = values[(values > WINDOW_HU[0]) & (values < WINDOW_HU[1])]
    if not fatty.size:
        return None
    return Layer(voxels=voxels, fat_hu=float(fatty.mean()), fluid=float(np.mean(np.concatenate(fluid))))


def _layer(hu: NDArray[np.int16], inside: Bools, step_y: float, step_x: float) -> Bools:
    """(Y, X) of one slice: fat between skin and muscle with the fluid in it, away from both."""
    within = enclosed(hu, inside, step_y, step_x)
    ry, rx = (max(1, round(STRANDS_MM / 2 / step)) for step in (step_y, step_x))
    y, x = np.mgrid[-ry : ry + 1, -rx : rx + 1]
    disk = (y * step_y) ** 2 + (x * step_x) ** 2 <= (STRANDS_MM / 2) ** 2
    fat = (hu >= FAT_HU[0]) & (hu <= FAT_HU[1]) & inside & ~within
    skin = edt.edt(inside, anisotropy=(step_y, step_x), black_border=False) > SKIN_MM
    wall = edt.edt(~within, anisotropy=(step_y, step_x), black_border=False) > WALL_MM
    return np.asarray(ndimage.binary_closing(fat, disk) & skin & wall & ~within)
