"""What the embedded segmenter tells apart, and how names of label maps fold into it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CLASSES = (
    "outside", "fat", "soft_tissue", "bone",
    "liver", "spleen", "kidney_right", "kidney_left", "stomach", "gallbladder", "pancreas", "urinary_bladder",
    "aorta", "inferior_vena_cava", "heart", "vertebrae", "lung_right", "lung_left", "esophagus", "colon", "small_bowel",
    "spinal_cord", "hip", "sacrum", "ribs", "autochthon", "iliopsoas", "gluteus", "femur", "trachea",
    "portal_vein_and_splenic_vein", "prostate",
)  # fmt: skip
INDEX: Mapping[str, int] = MappingProxyType({name: n for n, name in enumerate(CLASSES)})
ORGANS = CLASSES[4:]  # the rest is told by density alone

_FOLDED = {
    "duodenum": "small_bowel", "rectum": "colon", "costal_cartilages": "ribs", "sternum": "ribs", "skin": "soft_tissue",
    "subcutaneous_fat": "fat", "torso_fat": "fat", "table": "outside", "blanket": "outside", "vertebrae_S1": "sacrum",
    "intervertebral_discs": "vertebrae", "bronchi": "trachea", "coronary_arteries": "heart", "pericardium": "heart",
    "atrial_appendage_left": "heart", "hepatic_vein": "liver",
}  # fmt: skip
_STEMS = {
    "vertebrae": "vertebrae", "heart": "heart", "rib": "ribs", "hip": "hip", "gluteus": "gluteus", "femur": "femur",
    "autochthon": "autochthon", "iliopsoas": "iliopsoas", "humerus": "bone", "scapula": "bone", "clavicula": "bone",
    "skull": "bone",
}  # fmt: skip


def class_of(name: str) -> str:
    """The class that a structure of TotalSegmentator or of our phantoms belongs to.

    >>> class_of("vertebrae_L3"), class_of("lung_upper_lobe_left"), class_of("adrenal_gland_left")
    ('vertebrae', 'lung_left', 'soft_tissue')
    """
    if name in INDEX:
        return name
    if name in _FOLDED:
        return _FOLDED[name]
    if name.startswith("lung_") and name.endswith(("left", "right")):
        return f"lung_{name.rsplit('_', 1)[1]}"
    return _STEMS.get(name.split("_")[0], "soft_tissue")
