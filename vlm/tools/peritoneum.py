"""Free fluid beside the liver and the spleen.

In: liver, spleen, lungs and the organs around them in a Case. Out: an Observation of ascites where a layer of fluid
lies between one of the two and the abdominal wall, and a Search. Fluid in the gutters beside the colon and in the
pelvis is not looked for, and the search says that it covered a part.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.ball import grown, opened
from vlm.anatomy.coverage import coverage
from vlm.anatomy.fat import fat
from vlm.anatomy.liver import liver
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import skeleton
from vlm.anatomy.structures import structure
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.effusion import pleural_fluid
from vlm.tools.ground import search
from vlm.tools.registry import tool

NAME = "peritoneum"
FLUID_HU = (-8.0, 26.0)  # serous ascites 0-20 HU; bloody or infected fluid is denser and is missed
DARKER_HU = 18.0  # than the liver, at least
REACH_MM = 30.0  # from liver and spleen
BLUR_MM = 2.0
LAYER_MM = 6.0  # least thickness: where muscle meets fat, thinner sheets have the density of fluid
RIM_MM = 3.0  # around the layer, which lost its borders to the blur
LEAST_ML = 40.0
FLAT = 4.0  # volume over the cube of the thickness: about 1 of gallbladder, cyst and stomach
BESIDE_MM, BESIDE_SHARE = 4.0, 0.2  # of the layer lies so near to liver or spleen
WALL_MM = 30.0  # below the surface of the wall; bowel lies deeper
LUNG_MM = 8.0  # nearer to lung it is its blurred border, or pleural fluid
PLEURAL_MM = 4.0  # around pleural fluid: its border is no ascites
# Fluid gathers round the liver, round the spleen, beside the colon on either side, and in the pelvis
# (Meyers, Radiology 1970;95:547): each is a fifth of what there is to look at.
PLACES = 5
LEAST_SHARE = 0.05  # where it looked in vain: too little to say anything
BESIDE = ("kidney_right", "kidney_left", "stomach", "gallbladder", "urinary_bladder", "heart", "aorta",
          "inferior_vena_cava")  # fmt: skip

Bools = NDArray[np.bool_]


@tool(NAME, observes=("ascites",), needs=("liver", "lungs", "spleen"))
def ascites(case: Case) -> list[Evidence]:
    """Look for a layer of fluid around liver and spleen."""
    found, site, grid = liver(case), "peritoneum", case.working.grid
    if not found.found or found.mean_hu is None:
        reason = () if coverage(case).of(site) <= 0 else ("not_found",)
        return [search(case, NAME, "ascites", site=site, failed=reason)]
    if found.mean_hu < FLUID_HU[1] + DARKER_HU - 10.0:  # fluid beside a fatty liver is no darker than it
        return [search(case, NAME, "ascites", site=site, covered=LEAST_SHARE)]
    places = {"liver": found.mask.voxels.T | _outline(case, "liver"), "spleen": _outline(case, "spleen")}
    organs = places["liver"] | places["spleen"]
    near = grown(organs, REACH_MM, grid)
    looked = case.keep(Mask("around_liver", near.T, grid))
    pleural = _beside_lung(case)
    pieces = _pieces(case, organs, near & ~pleural, min(FLUID_HU[1], found.mean_hu - DARKER_HU))
    free = [piece.voxels for piece in pieces if piece.free]
    # Which side of the diaphragm fluid lies on is not told there: the place does not count.
    hidden = {name: (pleural & grown(part, REACH_MM, grid)).sum() * grid.voxel_ml for name, part in places.items()}
    seen_of = [coverage(case).of(name) for name, part in places.items() if part.any() and hidden[name] < LEAST_ML]
    share = max(LEAST_SHARE, sum(seen_of) / PLACES)
    if not free:
        return [search(case, NAME, "ascites", site=site, covered=share, region=looked)]
    edges = (FLUID_HU[0] - DARKER_HU, (FLUID_HU[1] + found.mean_hu) / 2)
    mask = Mask("ascites", _with_rim(case, np.any(free, axis=0), edges).T, grid)
    seen = Observation(
        tool=NAME, finding="ascites", presence="present" if mask.volume_ml > 2 * LEAST_ML else "uncertain", site=site,
        measurements=(Measurement(quantity="volume", value=mask.volume_ml),), region=case.keep(mask),
    )  # fmt: skip
    return [seen, search(case, NAME, "ascites", site=site, covered=share, found=1, region=looked)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece of what has the density of fluid, near liver or spleen."""

    voxels: Bools  # (Z, Y, X)
    flat: float  # volume over the cube of its thickness
    beside: float  # share that lies against liver or spleen
    deep_mm: float  # median depth below the surface of the wall

    @property
    def free(self) -> bool:
        """Whether it is a layer between an organ and the wall; what bowel and gallbladder hold is none."""
        return self.flat >= FLAT and self.beside >= BESIDE_SHARE and self.deep_mm <= WALL_MM


def _pieces(case: Case, organs: Bools, near: Bools, high: float) -> list[Piece]:
    """What is as dark as fluid, thick enough, and outside every organ that is known."""
    grid, dome = case.working.grid, coverage(case).dome_mm
    top = np.inf if dome is None else dome  # above it fluid is pleural
    spacing = grid.spacing_mm[::-1]
    hu = ndimage.gaussian_filter(case.working.hu.T.astype(np.float32), [BLUR_MM / s for s in spacing])
    within = fat(case).within.voxels.T
    fluid = (hu > FLUID_HU[0]) & (hu < high) & within & ~ndimage.binary_dilation(_others(case))
    fluid &= ~grown(lungs(case).both.voxels.T, LUNG_MM, grid)
    labels = cc3d.connected_components(opened(fluid, LAYER_MM / 2, grid), connectivity=6)
    z = grid.to_mm(np.c_[np.zeros((len(hu), 2)), np.arange(len(hu))])[:, 2]
    below = near & (z < top)[:, None, None]
    sizes = np.bincount(labels[below], minlength=labels.max() + 1)
    sizes[0] = 0
    deep = _depth_mm(within, grid)
    beside = grown(organs, BESIDE_MM, grid)
    out = []
    for number in np.flatnonzero(sizes * grid.voxel_ml >= LEAST_ML):
        voxels = (labels == number) & below
        thick = 2.0 * float(edt.edt(labels == number, anisotropy=spacing, black_border=False)[voxels].max())
        out.append(
            Piece(
                voxels=voxels, flat=sizes[number] * grid.voxel_ml * 1000.0 / thick**3,
                beside=float(beside[voxels].mean()), deep_mm=float(np.median(deep[voxels])),
            )
        )  # fmt: skip
    return out


def _with_rim(case: Case, layer: Bools, edges: tuple[float, float]) -> Bools:
    """The layer with its borders, where nothing else that is known lies."""
    hu = case.working.hu.T
    rim = grown(layer, RIM_MM, case.working.grid) & (hu > edges[0]) & (hu < edges[1])
    others = _others(case) | lungs(case).both.voxels.T
    return np.asarray(layer | (rim & ~others & fat(case).within.voxels.T))


def _others(case: Case) -> Bools:
    """(Z, Y, X) bones and the organs in which or beside which something is as dark as fluid."""
    return np.asarray(np.any([skeleton(case).voxels.T, *(_outline(case, name) for name in BESIDE)], axis=0))


def _beside_lung(case: Case) -> Bools:
    """(Z, Y, X) pleural fluid of both sides with its border."""
    fluid = [held[1] for held in pleural_fluid(case).values() if held is not None]
    shape = case.working.grid.shape[::-1]
    return grown(np.any(fluid, axis=0), PLEURAL_MM, case.working.grid) if fluid else np.zeros(shape, dtype=bool)


def _outline(case: Case, name: str) -> Bools:
    """(Z, Y, X) where a structure is, nowhere where nobody finds it."""
    mask = structure(case, name).mask
    grid = case.working.grid
    return np.zeros(grid.shape[::-1], dtype=bool) if mask is None else np.asarray(mask.on(grid).voxels.T)


def _depth_mm(within: Bools, grid: Grid) -> NDArray[np.float32]:
    """(Z, Y, X) how far each voxel lies inside the surface of the wall, in its slice."""
    step_y, step_x = grid.spacing_mm[1], grid.spacing_mm[0]
    depth: NDArray[np.float32] = edt.edt(np.ascontiguousarray(within), anisotropy=(1e3, step_y, step_x))
    return depth
