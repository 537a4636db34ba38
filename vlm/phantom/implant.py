"""Put a finding of known size, site and density into a real scan, in the scan's own blur and noise.

``implant(case, [Implant(...)], seed=3)`` gives back the changed scan, the exact mask of each
finding, and its truth. The rest of the scan stays as it is, voxel for voxel: what a tool says
of the result, less what it said before, is what it can see in this very scan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vlm.ct.volume import AIR_HU, Mask, Volume
from vlm.evidence import Case
from vlm.phantom.chest import Phantom
from vlm.phantom.host import Host, Implant, Kind, Margin, NoduleTexture, Zone, border_mm
from vlm.phantom.in_lung import SOLID_HU, holes, layer, nodule, patch
from vlm.phantom.in_organs import LESIONS, beside_liver, lesion, plaques

__all__ = ["PUT", "SOLID_HU", "Implant", "Kind", "Margin", "NoduleTexture", "Zone", "border_mm", "implant"]

PUT: Mapping[str, Callable[[Host, str, Implant], None]] = {
    "lung_nodule": nodule, "lung_mass": nodule, "pleural_effusion": layer, "pneumothorax": layer, "emphysema": holes,
    "consolidation": patch, "ground_glass_opacity": patch, **dict.fromkeys(LESIONS, lesion),
    "coronary_artery_calcification": plaques, "aortic_calcification": plaques, "ascites": beside_liver,
    "pneumoperitoneum": beside_liver,
}  # fmt: skip


def implant(
    case: Case, wanted: Sequence[Implant], *, seed: int = 0, refused: list[str] | None = None,
    organs: Mapping[str, Mask] | None = None,
) -> Phantom:  # fmt: skip
    """Put findings into an open scan.

    Args:
        case: the scan; its lungs, airways and some organs are found by ``vlm.anatomy``.
        wanted: in this order; a later one keeps off the earlier ones. Fluid and free air come first, as
            they take whatever lies there.
        refused: takes the reason of each that there is no room for; the others are put in all the same.
        organs: masks by TotalSegmentator's names, on any grid with the scan's axes; they go before what is found.

    Returns:
        A Phantom: a new Volume on the same grid, and a mask and a truth for each implant.

    Raises:
        ValueError: there is no room for one of them, its organ is not known, or there is nothing to
            measure blur and noise from.
    """
    host = Host(case, np.random.default_rng([seed, 11]), organs)
    for number, each in enumerate(wanted, 1):
        name = f"{each.finding}_{number}"
        host.rng = np.random.default_rng([seed, 11, number])  # each by itself: an earlier scan draws it alike
        try:
            PUT[each.finding](host, name, each)
        except ValueError as error:
            if refused is None:
                raise
            host.masks.pop(name, None)
            refused.append(str(error))
    masks = {name: Mask(name, voxels, case.volume.grid) for name, voxels in host.masks.items()}
    before = case.volume.hu
    hu = before.copy(order="F")
    touched = host.hu != before  # padding and what else lies below air stays as it was
    least = min(AIR_HU, int(before.min()))  # noise of air goes as low as the scan's own
    hu[touched] = np.clip(np.rint(host.hu[touched]), least, 32767).astype(np.int16)
    return Phantom(Volume(hu, case.volume.grid, case.volume.scan, case.volume.padding), masks, host.truth)
