"""Nodules of the adrenal glands, where a user's own expert outlines the glands.

In: the outline of each gland. Out: an Observation of a gland that is wider than a gland is, with size and density of
the wide part, and a Search for each side. The embedded network does not outline adrenal glands.
Arrays here are (Z, Y, X).
"""

from __future__ import annotations

from vlm.anatomy.ball import opened
from vlm.evidence import Case, Evidence, Measurement, Observation, Presence
from vlm.tools.lesions import axes_mm
from vlm.tools.organs import SITES, Organ, organ, sought
from vlm.tools.own_voxels import Part, own_voxels, widest_mm
from vlm.tools.registry import tool

NAME = "adrenals"
FINDING = "adrenal_lesion"
# Smaller ones need no work-up (Mayo-Smith, J Am Coll Radiol 2017;14:1038). The body of a normal gland is 6 (right)
# and 8 (left) mm wide, deviation 2 mm (Vincent, Clin Radiol 1994;49:453).
NODULE_MM = 10.0
SURE_MM = 12.0
DOUBT_MM = 2.0
LOOKED_SHARE = 0.25  # an outline may leave a nodule out, so that nothing is denied
SLICE_MM = 5.0  # in thicker slices a limb that lies in the slice is as thick as a nodule
FAT_HU = -30.0  # fat that an outline took in
NOTE = "a nodule that the outline of the gland left out is not seen"


@tool(NAME, observes=(FINDING,), needs=("adrenal_gland_right", "adrenal_gland_left"))
def adrenals(case: Case) -> list[Evidence]:
    """Look for nodules in adrenal glands that are outlined."""
    return [record for side in ("right", "left") for record in _gland(case, organ(case, f"adrenal_gland_{side}"))]


def _gland(case: Case, seen: Organ) -> list[Evidence]:
    part = None if seen.mask is None or not seen.measurable else own_voxels(case, seen.mask)
    if part is None:
        return [sought(case, NAME, FINDING, seen)]
    failed = ("thick_slices",) if case.volume.grid.spacing_mm[2] > SLICE_MM else ()
    width = widest_mm(part.voxels & (part.hu > FAT_HU), part.grid)
    if width < NODULE_MM:
        return [sought(case, NAME, FINDING, seen, failed=failed, share=LOOKED_SHARE, note=NOTE)]
    one = _nodule(case, seen, part, width, "present" if width >= SURE_MM and not failed else "uncertain")
    return [one, sought(case, NAME, FINDING, seen, found=1, failed=failed, share=LOOKED_SHARE, note=NOTE)]


def _nodule(case: Case, seen: Organ, part: Part, width_mm: float, presence: Presence) -> Observation:
    """The wide part of a gland."""
    site, side = SITES[seen.name]
    wide = opened(part.voxels & (part.hu > FAT_HU), 0.4 * width_mm, part.grid)
    long_mm, short_mm = axes_mm(wide, part.grid)
    return Observation(
        tool=NAME, finding=FINDING, presence=presence, side=side, site=site,
        measurements=(
            Measurement(quantity="diameter", value=long_mm, plus_minus=DOUBT_MM),
            Measurement(quantity="short_axis", value=short_mm, plus_minus=DOUBT_MM),
            Measurement(quantity="attenuation", value=float(part.hu[wide].mean())),
        ),
        region=case.keep(part.named(f"adrenal_lesion_{side}", wide)),
        note="" if presence == "present" else "hardly wider than a gland may be",
    )  # fmt: skip
