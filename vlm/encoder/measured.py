"""Heads over measures: ``vlm.encoder.measures`` as an encoder of one vector, and the adapter that ships for it.

No network runs: what anatomy found of a case is measured, and each head is a weighted sum of those numbers. The shipped
heads learned from synthetic bodies (``vlm/train/measured.py``) and say so; a scan unlike those gets a score and no
probability until ``tomoscribe finding calibrate`` has seen cases of the user's.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlm.encoder.adapter import Adapted, load_adapter
from vlm.encoder.cells import names_of, shipped_nets
from vlm.encoder.embedding import Embedding
from vlm.encoder.measures import GRID_MM, NAMES, VERSION, measures
from vlm.encoder.protocol import Features, Identity, Vector
from vlm.encoder.recipe import Prepared, Recipe
from vlm.encoder.weights import WeightsError
from vlm.evidence import Case
from vlm.findings.packs import load_pack

SHIPPED = Path(__file__).with_name("measured.safetensors")
BELLY = (
    "hepatic_steatosis", "hepatomegaly", "splenomegaly", "prostatomegaly", "pancreatic_atrophy", "ascites",
    "pneumoperitoneum", "submucosal_edema", "bowel_obstruction", "appendicitis", "biliary_dilatation", "gallstone",
    "surgically_absent_gallbladder", "renal_cyst", "renal_hypodensity", "hydronephrosis", "abdominal_aortic_aneurysm",
)  # fmt: skip
# A number that is there where the part of the body is in view: what networks say of another part is not known.
CHEST_SEEN, BELLY_SEEN = "lung.mean.ml", "belly.fat"


class Measures:
    """A fixed list of numbers of a case as a vector; NaN where its anatomy was not found."""

    recipe = Recipe(key=f"{GRID_MM:g}mm", shape=(0, 0, 0), spacing_mm=(GRID_MM,) * 3, window_hu=None)
    licence = "Apache-2.0"
    text = None
    identity = Identity(
        encoder=f"measures{VERSION}", weights=hashlib.sha256(" ".join(NAMES).encode()).hexdigest(), recipe=recipe.key
    )

    @classmethod
    def of_case(cls, case: Case) -> Embedding:
        """The vector of a case."""
        return cls.embedding(measures(case), case.volume.sha256)

    @classmethod
    def embedding(cls, vector: NDArray[np.floating], scan: str = "") -> Embedding:
        """Numbers that were measured before, in the order of NAMES; those of cells of a part out of view are NaN."""
        told = np.array(vector, dtype=np.float32)
        for seen, cells in _cells_by_part().items():
            if np.isnan(told[NAMES.index(seen)]):
                told[cells] = np.nan
        return Embedding(identity=str(cls.identity), scan=scan, vector=told)

    def features(self, prepared: Prepared) -> Features:  # noqa: ARG002  the protocol's
        """None: measures are of a case with its anatomy, not of a prepared scan."""
        raise WeightsError(f"E_WEIGHTS: {self.identity.encoder} has no feature map. Take --encoder astra for it.")

    def project(self, features: Vector, organ: str = "") -> Vector:  # noqa: ARG002  the protocol's
        """Themselves: there are no words."""
        return features


def part_of(findings: Sequence[str]) -> str:
    """The number that is there where a column's part of the body is in view."""
    return BELLY_SEEN if findings[0] in BELLY else CHEST_SEEN


@functools.cache
def _cells_by_part() -> Mapping[str, NDArray[np.intp]]:
    """CHEST_SEEN and BELLY_SEEN -> where the numbers of cells of that part stand."""
    held: dict[str, list[int]] = {CHEST_SEEN: [], BELLY_SEEN: []}
    for name in shipped_nets().columns:
        pack, _, column = name.partition(": ")
        findings = next(each.findings for each in load_pack(pack).columns if each.name == column)
        held[part_of(findings)] += [NAMES.index(each) for each in names_of([name])]
    return {seen: np.array(places, dtype=np.intp) for seen, places in held.items()}


@functools.cache
def shipped() -> Adapted | None:
    """The heads that ship; None where they do not.

    Raises:
        WeightsError: the file belongs to another list of measures, or is damaged.
    """
    return Adapted(Measures(), [load_adapter(SHIPPED)]) if SHIPPED.is_file() else None
