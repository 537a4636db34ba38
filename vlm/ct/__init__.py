"""From a path to a Volume: DICOM, NIfTI and zip, with every doubt said in one line."""

from vlm.ct.volume import AIR_HU, Box, Grid, Mask, Point, Scan, Volume

__all__ = ["AIR_HU", "Box", "Grid", "Mask", "Point", "Scan", "Volume"]
