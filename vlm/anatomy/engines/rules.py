"""The engine of rules: thresholds and geometry of this package, one structure at a time, nothing learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version

from vlm.anatomy.airways import airways
from vlm.anatomy.aorta import aorta
from vlm.anatomy.engines.protocol import Found, Off, beyond, judged
from vlm.anatomy.heart import heart
from vlm.anatomy.kidneys import kidneys
from vlm.anatomy.liver import liver
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import bone_near_spine, skeleton, spine
from vlm.ct.volume import Mask
from vlm.evidence import Case

# Name -> (mask or None, why there is none), in the order in which a label map takes them: later ones win.
FINDERS: Mapping[str, tuple[Callable[[Case], Mask | None], str]] = {
    "skeleton": (skeleton, "no bone in the field of view"),
    "vertebrae": (lambda case: bone_near_spine(case) if spine(case).found else None, "no spine was found"),
    "liver": (lambda case: liver(case).mask if liver(case).found else None, "no liver below the right lung"),
    "kidney_right": (lambda case: kidneys(case)["right"], "not told from what surrounds it"),
    "kidney_left": (lambda case: kidneys(case)["left"], "not told from what surrounds it"),
    "heart": (lambda case: heart(case).mask if heart(case).found else None, "not found between the lungs"),
    "aorta": (lambda case: aorta(case).mask if aorta(case).found else None, "not traceable beside the spine"),
    "lung_right": (lambda case: lungs(case).right, "no aerated lung in the field of view"),
    "lung_left": (lambda case: lungs(case).left, "no aerated lung in the field of view"),
    "trachea": (
        lambda case: airways(case).trachea if airways(case).found else None, "no trachea in the field of view",
    ),
}  # fmt: skip


class Rules:
    """What needs no weights; always on."""

    name = "rules"
    vouched = False

    @property
    def version(self) -> str:
        return version("tomoscribe")

    def off(self) -> Off | None:
        return None

    def names(self) -> frozenset[str]:
        return frozenset(FINDERS)

    def find(self, case: Case, name: str) -> Found:
        look, why = FINDERS[name]
        mask = look(case)
        if mask:
            return judged(case, Mask(name, mask.voxels, mask.grid))
        if beyond(case, name):
            return Found(state="cut", reason="its place lies outside the field of view")
        return Found(state="not believed", reason=why)  # a rule that finds nothing does not say that nothing is there
