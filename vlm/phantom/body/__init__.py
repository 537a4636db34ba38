"""A whole synthetic body, random by seed, neck to thighs, in which every voxel is labelled.

from vlm.phantom.body import body
scanned = body(seed=7, phase="portal", region="abdomen", spacing_mm=(3.0, 3.0, 3.0))
scanned.volume.hu, scanned.labels, scanned.mask("liver").volume_ml
"""

from vlm.phantom.body.body import REGIONS, Body, body, draw, grid_of
from vlm.phantom.body.findings import numbered
from vlm.phantom.body.labels import NAME, NUMBER, OUTSIDE
from vlm.phantom.body.person import Person
from vlm.phantom.body.scanner import Exposure
from vlm.phantom.body.tissues import PHASES, Phase

__all__ = [
    "NAME", "NUMBER", "OUTSIDE", "PHASES", "REGIONS", "Body", "Exposure", "Person", "Phase", "body", "draw",
    "grid_of", "numbered",
]  # fmt: skip
