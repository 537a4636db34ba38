"""Metal in the body and what it most likely is.

In: the pieces of metal of a Case. Out: an Observation for each kind of device that was recognised, and a
Search for every kind. What cannot be told stays "medical material". Catheters have a tool of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from vlm.anatomy.airways import airways
from vlm.anatomy.aorta import aorta
from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import CARINA_ABOVE_DOME_MM, coverage
from vlm.evidence import Case, Evidence, Measurement, Observation, Side
from vlm.tools.ground import search
from vlm.tools.metal_parts import Piece, metal_pieces, piece_mask, width_mm
from vlm.tools.registry import tool

NAME = "devices"
BONE_SHARE = 0.15  # hardware lies in or on bone
HARDWARE_ML = 0.3
PORT_ML = (0.15, 9.0)  # metal of a port chamber with its blur: of a hollow one of titanium 5 ml
PORT_MM = (8.0, 40.0)  # extent of a port chamber with its blur
PACEMAKER_ML = 4.0
PACEMAKER_MM = (30.0, 90.0)  # of its second and its largest extent; the largest is more than that of a port
PACEMAKER_THICK_MM = 18.0  # cans are flat, heads of a shoulder prosthesis are not
WALL_FAT = 0.08  # implants of the chest wall lie in fat, with streaks and muscle beside it
LEAD_LENGTH_MM, NEAR_LEAD_MM = 40.0, 30.0  # a lead is broken up where it is cut across
SOLID_MM = 5.0  # contrast in the veins of the chest wall is thinner
WALL_FRONT_MM = 45.0  # in front of the canal
HIP_BELOW_DOME_MM = 285.0  # heads of the femora lie 355 mm below, two spreads between people less than this
HIP_SIDEWAYS_MM = 50.0  # screws of the sacrum and the spine lie nearer to the middle
HEAD_MM = 24.0  # heads of hip prostheses measure 28 mm and more, nails 13 mm and less, with their blur up to 18
STENT_LENGTH_MM = 30.0
STENT_WIDTH_MM = 26.0
STENT_HIGHEST_MM, STENT_LOWEST_MM = -25.0, -210.0  # below the dome: bile duct from liver hilum to duodenum
STENT_SIDEWAYS_MM = (-15.0, 95.0)  # right of the canal
NEAR_STENT_MM = 45.0
OWN_END_MM = 12.0  # two slices of 5 mm: its own end, though dense bowel content beside it passes for bone
CLIP_ML, CLIP_MM = 0.15, 14.0
CLIP_DEPTH_MM = 15.0
WIRES, WIRES_SPAN_MM = 3, 40.0
TEETH_ABOVE_CARINA_MM = 95.0
ARTEFACT_ML = 0.5  # less metal leaves no streak worth a word
KINDS = (
    "port", "pacemaker", "orthopaedic_hardware", "sternotomy_wires", "stent", "biliary_stent", "surgical_clip",
)  # fmt: skip
SITES = {
    "port": "chest_wall", "pacemaker": "chest_wall", "sternotomy_wires": "sternum", "biliary_stent": "bile_ducts",
    "orthopaedic_hardware": "bone", "stent": "aorta", "surgical_clip": "abdomen",
}  # fmt: skip


@tool(NAME, observes=(*KINDS, "medical_material", "metal_artefact"), needs=("skeleton", "lungs"))
def devices(case: Case) -> list[Evidence]:
    """Find metal in the body and tell ports, pacemakers, hardware, wires, stents and clips apart."""
    rest = [piece for piece in metal_pieces(case) if not _teeth(case, piece) and not _inflow(case, piece)]
    kinds: dict[str, list[Piece]] = {}
    leads: list[Piece] = []
    rules: tuple[tuple[str, Callable[[Case, list[Piece]], list[Piece]]], ...] = (
        ("sternotomy_wires", _wires),
        ("biliary_stent", _biliary_stents),
        ("stent", _aortic_stents),
        ("port", _ports),
        ("pacemaker", _pacemakers),
        ("orthopaedic_hardware", _hardware),
        ("surgical_clip", _clips),
    )
    for kind, rule in rules:
        kinds[kind] = rule(case, rest)
        rest = [piece for piece in rest if piece not in kinds[kind]]
        if kind == "pacemaker" and kinds[kind]:
            leads = _leads(case, rest)
            rest = [piece for piece in rest if piece not in leads]
    out: list[Evidence] = []
    for kind in KINDS:
        out += _observations(case, kind, kinds[kind])
    unknown = [piece for piece in rest if piece.volume_ml >= 0.1]
    if unknown:
        region = case.keep(piece_mask(case, "metal", unknown))
        volume = Measurement(quantity="volume", value=sum(piece.volume_ml for piece in unknown))
        out.append(
            Observation(
                tool=NAME, finding="medical_material", presence="uncertain", measurements=(volume,), region=region,
                note="metal, or something as dense, of a kind that is not recognised",
            )
        )  # fmt: skip
    everything = metal_pieces(case)
    metal_ml = sum(piece.volume_ml for piece in everything)
    streaks = metal_ml >= ARTEFACT_ML
    if streaks:
        region = case.keep(piece_mask(case, "dense_metal", list(everything)))
        out.append(Observation(tool=NAME, finding="metal_artefact", presence="present", region=region))
    found = sum(1 for each in out if isinstance(each, Observation) and each.finding != "metal_artefact")
    fragments = any(piece.length_mm < LEAD_LENGTH_MM for piece in leads)  # they may be clips beside the lead
    for kind in KINDS:
        failed = ("metal",) if kind == "surgical_clip" and fragments else ()
        site = "chest_wall" if kind in ("port", "pacemaker") else ""
        out.append(_search(case, kind, len(kinds[kind]), site, failed=failed))
    out.append(_search(case, "medical_material", found, ""))
    out.append(_search(case, "metal_artefact", int(streaks), ""))
    return out


def _search(case: Case, kind: str, found: int, site: str, *, failed: tuple[str, ...] = ()) -> Evidence:
    """Where metal of this kind was looked for: the whole scan, so the share of its place that is covered."""
    places = {"chest_wall": "chest", "sternum": "chest", "bile_ducts": "bile_ducts", "aorta": "thoracic_aorta"}
    key = site or SITES.get(kind, "")
    place = places.get(key)
    covered = coverage(case).of(place) if place is not None else 1.0
    return search(case, NAME, kind, site=key or "chest", found=found, covered=covered, failed=failed)


def _observations(case: Case, kind: str, pieces: list[Piece]) -> list[Evidence]:
    """One Observation a piece for ports, pacemakers and hardware of one side; one for all pieces of the rest."""
    if not pieces:
        return []
    single = kind in ("port", "pacemaker")
    groups: dict[Side | None, list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(_side(piece) if single or kind == "orthopaedic_hardware" else None, []).append(piece)
    out: list[Evidence] = []
    for number, (side, group) in enumerate(groups.items(), start=1):
        region = case.keep(piece_mask(case, f"{kind}_{number}", group))
        size = Measurement(quantity="volume", value=sum(piece.volume_ml for piece in group))
        length = Measurement(quantity="diameter_3d", value=max(piece.length_mm for piece in group), plus_minus=4.0)
        out.append(
            Observation(
                tool=NAME, finding=kind, presence="present", side=side, site=_place(case, kind, group),
                measurements=(length, size), attributes={"pieces": str(len(group))}, region=region,
            )
        )  # fmt: skip
    return out


def _side(piece: Piece) -> Side | None:
    """The patient's side, by the canal; None near the midline."""
    if piece.offset_mm is None or abs(piece.offset_mm[0]) < 12.0:
        return None
    return "right" if piece.offset_mm[0] > 0 else "left"


def _place(case: Case, kind: str, group: list[Piece]) -> str | None:
    """A site of the vocabulary for the group."""
    if kind == "orthopaedic_hardware":
        piece, dome = group[0], coverage(case).dome_mm
        if piece.offset_mm is not None and abs(piece.offset_mm[0]) < 30.0 and abs(piece.offset_mm[1]) < 60.0:
            return "spine"
        if dome is None or piece.offset_mm is None or piece.centre_mm[2] > dome - HIP_BELOW_DOME_MM:
            return None
        if abs(piece.offset_mm[0]) < HIP_SIDEWAYS_MM:
            return None
        return "hip" if width_mm(case, piece) >= HEAD_MM else "femur"
    if kind == "surgical_clip":
        return "chest" if group[0].lung_level else "abdomen"
    return SITES[kind]


def _teeth(case: Case, piece: Piece) -> bool:
    """Dental metal: above the chest, in front of the spine, near the midline."""
    carina = airways(case).carina_mm
    above = carina is not None and piece.centre_mm[2] > carina[2] + TEETH_ABOVE_CARINA_MM
    head = coverage(case).of("head") > 0.3 and carina is None
    if not (above or head) or piece.lung_level or piece.offset_mm is None:
        return False
    return abs(piece.offset_mm[0]) < 50.0 and piece.offset_mm[1] > 15.0


def _inflow(case: Case, piece: Piece) -> bool:
    """Undiluted contrast in the veins of arm and shoulder, above the carina, not metal."""
    if contrast(case).enhanced is not True:
        return False
    carina, dome = airways(case).carina_mm, coverage(case).dome_mm
    level = carina[2] if carina is not None else None if dome is None else dome + CARINA_ABOVE_DOME_MM
    high = level is not None and piece.centre_mm[2] > level
    in_wall = piece.fat_share > 0.45 and piece.bone_share < 0.02
    in_wall |= _in_front_wall(piece) and width_mm(case, piece) >= SOLID_MM
    return high and piece.lung_level and not in_wall


def _in_front_wall(piece: Piece) -> bool:
    """In the fat of the chest wall, in front of the lung."""
    return (
        piece.offset_mm is not None
        and piece.before_lung
        and piece.offset_mm[1] > WALL_FRONT_MM
        and piece.fat_share > WALL_FAT
    )


def _ports(_: Case, pieces: list[Piece]) -> list[Piece]:
    low, high = PORT_ML
    return [
        piece
        for piece in pieces
        if low <= piece.volume_ml <= high
        and PORT_MM[0] <= min(piece.extent_mm)
        and max(piece.extent_mm) <= PORT_MM[1]
        and _in_front_wall(piece)
    ]


def _pacemakers(case: Case, pieces: list[Piece]) -> list[Piece]:
    """Flat cans in the chest wall."""
    return [
        piece
        for piece in pieces
        if piece.volume_ml > PACEMAKER_ML
        and PACEMAKER_MM[0] <= sorted(piece.extent_mm)[1]
        and PORT_MM[1] < max(piece.extent_mm) <= PACEMAKER_MM[1]
        and width_mm(case, piece) <= PACEMAKER_THICK_MM
        and _in_front_wall(piece)
    ]


def _leads(case: Case, pieces: list[Piece]) -> list[Piece]:
    """Long thin metal in the chest of who has a pacemaker, with its fragments: neither hardware nor clips."""
    thin = [piece for piece in pieces if piece.lung_level and width_mm(case, piece) < SOLID_MM]
    long = [piece for piece in thin if piece.length_mm >= LEAD_LENGTH_MM]
    return [piece for piece in thin if any(_apart(case, piece, lead) < NEAR_LEAD_MM for lead in long)]


def _hardware(_: Case, pieces: list[Piece]) -> list[Piece]:
    return [piece for piece in pieces if piece.volume_ml >= HARDWARE_ML and piece.bone_share >= BONE_SHARE]


def _wires(_: Case, pieces: list[Piece]) -> list[Piece]:
    """A row of small pieces in front of the chest, at the sternum."""
    row = [
        piece
        for piece in pieces
        if piece.volume_ml < 0.6
        and piece.lung_level
        and piece.offset_mm is not None
        and abs(piece.offset_mm[0]) < 28.0
        and piece.offset_mm[1] > 90.0
        and piece.depth_mm < 40.0
    ]
    heights = [piece.centre_mm[2] for piece in row]
    return row if len(row) >= WIRES and max(heights) - min(heights) >= WIRES_SPAN_MM else []


def _biliary_stents(case: Case, pieces: list[Piece]) -> list[Piece]:
    """A long thin piece right of the spine between liver hilum and duodenum, with its fragments."""
    dome = coverage(case).dome_mm
    if dome is None:
        return []
    low, high = STENT_SIDEWAYS_MM
    stents = [
        piece
        for piece in pieces
        if piece.offset_mm is not None
        and low < piece.offset_mm[0] < high
        and piece.offset_mm[1] > 25.0
        and dome + STENT_LOWEST_MM < piece.centre_mm[2] < dome + STENT_HIGHEST_MM
        and piece.length_mm >= STENT_LENGTH_MM
        and sorted(piece.extent_mm)[1] <= STENT_WIDTH_MM
        and piece.bone_share < 0.1
        and piece.depth_mm > 25.0
    ]
    if not stents:
        return []
    near = [
        piece
        for piece in pieces
        if piece.depth_mm > 25.0
        and min(_apart(case, piece, stent) for stent in stents)
        < (NEAR_STENT_MM if piece.bone_share < 0.1 else OWN_END_MM)
    ]
    return [piece for piece in pieces if piece in stents or piece in near]


def _aortic_stents(case: Case, pieces: list[Piece]) -> list[Piece]:
    """Metal along the traced aorta."""
    traced = aorta(case)
    if not traced.found:
        return []
    inside = traced.mask.voxels
    return [
        piece
        for piece in pieces
        if piece.extent_mm[2] >= STENT_LENGTH_MM and inside[tuple(piece.voxels.T)].mean() > 0.5
    ]


def _clips(_: Case, pieces: list[Piece]) -> list[Piece]:
    return [
        piece
        for piece in pieces
        if piece.volume_ml <= CLIP_ML
        and max(piece.extent_mm) <= CLIP_MM
        and piece.depth_mm >= CLIP_DEPTH_MM
        and piece.bone_share < 0.02
    ]


def _apart(case: Case, one: Piece, other: Piece) -> float:
    """Least distance between the voxels of two pieces, mm: the box of an oblique lead holds half of the chest."""
    spacing = np.array(case.working.grid.spacing_mm)
    return float(cKDTree(other.voxels * spacing).query(one.voxels * spacing)[0].min())
