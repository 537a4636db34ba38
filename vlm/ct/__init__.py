"""From a path to a Volume: DICOM, NIfTI and zip, with every doubt said in one line.

scan = read("folder")
scan.volume.hu          # (X, Y, Z) int16 HU, RAS+
[n.message for n in scan.notes]
"""

from vlm.ct.intake import LIMITS, Note
from vlm.ct.inventory import Inventory
from vlm.ct.read import ReadScan, read, survey
from vlm.ct.volume import AIR_HU, Box, Grid, Mask, Point, Scan, Volume

__all__ = [
    "AIR_HU",
    "LIMITS",
    "Box",
    "Grid",
    "Inventory",
    "Mask",
    "Note",
    "Point",
    "ReadScan",
    "Scan",
    "Volume",
    "read",
    "survey",
]
