"""A simple chest whose truth is known: body, bones, lungs with vessels, heart, and what ails them.

``chest(...)`` draws smooth shapes onto a grid and gives back the scan, the masks of what
it drew and a list of truths. The same arguments give the same bytes. It is made for tests
and for measuring the tools' limits; nobody should take it for a person.

Space: RAS mm, x to the patient's right, y to the front, z to the head; the carina is at
(0, -15, 0). The person lies on the back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.ct.volume import AIR_HU, Box, Grid, Mask, Point, Scan, Volume, as_point
from vlm.phantom import torso
from vlm.phantom.calcium import CALCIUM_HU, plaques
from vlm.phantom.canvas import Canvas, Distance, Floats
from vlm.phantom.trees import Branch, grow

SideName = Literal["left", "right"]
Zone = Literal["upper", "middle", "lower"]
Neighbour = Literal["nothing", "vessel", "pleura"]
SIDES: tuple[SideName, SideName] = ("right", "left")

FIELD_MM = (380.0, 300.0, 300.0)  # default field of view
CENTRE_MM = (0.0, -8.0, -35.0)  # its middle
ZONES_MM: dict[Zone, tuple[float, float]] = {"upper": (25.0, 75.0), "middle": (-35.0, 15.0), "lower": (-95.0, -45.0)}

# Hounsfield units of a scan without contrast
LUNG, BLOOD, FLUID, COLLAPSED, CONSOLIDATION, GROUND_GLASS, BULLA, AIR = (
    -862, 42, 8, 40, 35, -600, -985, -1000,
)  # fmt: skip
EMPHYSEMA_HU = -950  # lung below counts as emphysema: Gevenois, AJRCCM 1996;154:187
LUNG_SLOPE = -0.35  # HU per mm towards the front: the lung behind is denser
LATTICE_MM = 2.0
MAIN_BRONCHUS: dict[SideName, tuple[Point, float]] = {  # its end and the radius of its lumen
    "right": ((36.0, -19.0, -18.0), 6.8), "left": ((-42.0, -20.0, -28.0), 6.0),
}  # fmt: skip
PATCH_MM = 10.0  # sigma of the field whose sign parts mosaic lung: patches of 2 to 3 cm, one to a few lobules
WEDGE = (1.0, 0.55, 1.25)  # semi-axes of filled or hazy lung: longer than thick, else it would be a mass
SHEATH_MM = 0.5  # between the wall of a bronchus and the artery beside it


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Something that was drawn: its finding, where it lies, and its size."""

    finding: str
    side: SideName | None
    site: str | None
    centre_mm: Point
    quantity: str  # a key of vlm.evidence.QUANTITIES: "diameter" (mm), "volume" (mL), "fraction" (%) …
    value: float
    mask: str
    attributes: tuple[str, ...] = ()  # "ground_glass", "spiculated"
    wish: int | None = None  # number of the request that it was drawn for
    contrast_hu: float | None = None  # against what lay there before; None where that says nothing
    visible: bool = True  # False: it is there, but this phase does not show it


@dataclass(frozen=True, eq=False)
class Phantom:
    """A drawn scan, the masks of what was drawn by name, and its truths."""

    volume: Volume
    masks: dict[str, Mask]
    truth: list[Truth]


def chest(
    *,
    seed: int = 0,
    spacing_mm: tuple[float, float, float] = (0.8, 0.8, 1.5),
    field_mm: tuple[float, float, float] = FIELD_MM,
    centre_mm: Point = CENTRE_MM,
    shape: tuple[int, int, int] | None = None,
    nodules: Sequence[tuple[SideName, Zone, float, float]] = (),
    nodules_touch: Neighbour = "nothing",
    effusion_left_ml: float = 0.0,
    effusion_right_ml: float = 0.0,
    pneumothorax_left_ml: float = 0.0,
    pneumothorax_right_ml: float = 0.0,
    consolidation: Sequence[tuple[SideName, Zone, float]] = (),
    ground_glass: Sequence[tuple[SideName, Zone, float]] = (),
    atelectasis_left_ml: float = 0.0,
    atelectasis_right_ml: float = 0.0,
    emphysema_fraction: float = 0.0,
    raised_diaphragm_left_mm: float = 0.0,
    raised_diaphragm_right_mm: float = 0.0,
    mosaic_hu: float = 0.0,
    bronchial_ratio: Mapping[SideName, float] | None = None,
    bronchial_wall_mm: float = 1.2,
    heart_scale: float = 1.0,
    pericardial_effusion_ml: float = 0.0,
    coronary_calcium_mm3: float = 0.0,
    aortic_calcium_mm3: float = 0.0,
    blood_hu: float = BLOOD,
    noise_hu: float = 14.0,
    kernel: Literal["soft", "sharp"] = "soft",
    table: bool = True,
) -> Phantom:
    """Draw a chest.

    Args:
        shape: voxels (X, Y, Z); by default as many as fill ``field_mm``.
        nodules: (side, zone, diameter in mm, HU) of each; a sphere.
        nodules_touch: they lie well inside the lung, against a vessel of 1 to 2.5 mm radius, or against the pleura.
        consolidation, ground_glass: (side, zone, mL) of each.
        atelectasis_left_ml, atelectasis_right_ml: airless lung behind, in front of any fluid.
        emphysema_fraction: share of both lungs that is holes, 0..1; more of them at the top.
        raised_diaphragm_left_mm, raised_diaphragm_right_mm: how far a side has lost volume.
        mosaic_hu: by how much the denser half of the lungs exceeds the darker half, in patches of some lobules.
        bronchial_ratio: lumen of the bronchi over the artery beside them, of each side; 0.7 to 1 in health. Arteries
            beside bronchi are drawn only where it is given.
        bronchial_wall_mm: thickness of the walls of all bronchi inside the lungs.
        blood_hu: attenuation of blood; about 42 without contrast.
        noise_hu: standard deviation of the noise in a voxel.

    Returns:
        A Phantom. Masks: body, lung_SIDE (without fluid and free air), thoracic_cavity_SIDE, airways,
        heart, aorta, liver, spleen, stomach, vertebrae, ribs, sternum, spinal_canal, and one a finding.
    """
    counts = shape or tuple(max(8, round(mm / step)) for mm, step in zip(field_mm, spacing_mm, strict=True))
    canvas = Canvas(_grid((counts[0], counts[1], counts[2]), spacing_mm, centre_mm), torso.AIR)
    rng = np.random.default_rng([seed, 9])
    heart = torso.heart_shapes(heart_scale, pericardial_effusion_ml)
    raised = {"left": raised_diaphragm_left_mm, "right": raised_diaphragm_right_mm}
    fluid = {"left": effusion_left_ml, "right": effusion_right_ml}
    dense = {"left": atelectasis_left_ml, "right": atelectasis_right_ml}
    air = {"left": pneumothorax_left_ml, "right": pneumothorax_right_ml}
    cavity = {side: torso.cavity(side, heart[1], raised[side]) for side in SIDES}
    bounds = {side: _bounds(cavity[side], fluid[side], dense[side], air[side]) for side in SIDES}
    lung = {side: _between(cavity[side], bounds[side][0], bounds[side][2]) for side in SIDES}
    drawing = _Drawing(canvas, lung, rng, [], {side: [] for side in SIDES})

    torso.draw_body(canvas, table=table)
    torso.draw_abdomen(canvas, raised)
    for side in SIDES:
        drawing.lung(side, cavity[side], blood_hu, seed)
    drawing.mosaic(mosaic_hu, seed)
    drawing.emphysema(emphysema_fraction, seed)
    for finding, patches, hu in (
        ("ground_glass_opacity", ground_glass, GROUND_GLASS), ("consolidation", consolidation, CONSOLIDATION)
    ):  # fmt: skip
        for number, (side, zone, ml) in enumerate(patches, 1):
            drawing.patch(f"{finding}_{number}", finding, side, zone, ml, hu)
    ratios = bronchial_ratio or {}
    airways = _central() + [piece for side in SIDES for piece in drawing.bronchi(side, ratios, bronchial_wall_mm)]
    canvas.draw_branches([piece.wider(bronchial_wall_mm) for piece in airways if piece.radius_mm > 1.0], 15)
    canvas.draw_branches(airways, AIR)
    for side in SIDES:
        drawing.layers(side, cavity[side], bounds[side])
    torso.draw_mediastinum(canvas, heart, blood_hu, pericardial_effusion_ml)
    large = [piece for piece in airways if piece.radius_mm > 2.0]  # hilar vessels were drawn over them
    canvas.draw_branches([piece.wider(1.5) for piece in large], 30)
    canvas.draw_branches([piece for piece in airways if piece.radius_mm > 1.5], AIR)
    canvas.draw_branches(airways, AIR, name="airways", keep_hu=True)
    drawing.calcium(coronary_calcium_mm3, aortic_calcium_mm3)
    for number, (side, zone, diameter, density) in enumerate(nodules, 1):
        drawing.nodule(number, side, zone, diameter, density, nodules_touch)
    torso.draw_bones(canvas)
    _add_noise(canvas.hu, noise_hu, kernel, seed)
    if pericardial_effusion_ml > 0:
        drawing.note("pericardial_effusion", None, "pericardium", "pericardial_effusion")
    return _phantom(canvas, drawing.truth, kernel, spacing_mm[2], contrast=blood_hu > 100)


def demo_case(*, seed: int = 7, spacing_mm: tuple[float, float, float] = (0.8, 0.8, 1.5)) -> Phantom:
    """The sample that the demo reads: a 14 mm nodule on the right, 180 mL of fluid on the left, coronary calcium."""
    return chest(
        seed=seed, spacing_mm=spacing_mm, nodules=(("right", "upper", 14.0, 40.0),), effusion_left_ml=180.0,
        coronary_calcium_mm3=150.0,
    )  # fmt: skip


@dataclass(frozen=True)
class _Drawing:
    """A chest while it is drawn."""

    canvas: Canvas
    shapes: dict[SideName, Distance]  # each lung
    rng: np.random.Generator
    truth: list[Truth]
    vessels: dict[SideName, list[Branch]]

    def note(
        self, finding: str, side: SideName | None, site: str | None, mask: str, size: tuple[str, float] | None = None
    ) -> None:
        """Remember what was drawn; its volume is that of its mask, unless ``size`` says another measure."""
        voxels = self.canvas.masks.get(mask)
        if voxels is None or not voxels.any():
            return
        grid, index = self.canvas.grid, np.argwhere(voxels)
        quantity, value = size or ("volume", len(index) * grid.voxel_ml)
        centre = as_point(grid.to_mm(index.mean(axis=0)[::-1]))
        self.truth.append(
            Truth(finding=finding, side=side, site=site, centre_mm=centre, quantity=quantity, value=value, mask=mask)
        )

    def points(self, side: SideName, number: int, depth_mm: float, z_mm: tuple[float, float]) -> NDArray[np.float64]:
        """(number, 3) places in a lung, ``depth_mm`` from its surface at least."""
        chosen: list[NDArray[np.float64]] = []
        sign = 1.0 if side == "right" else -1.0
        for _ in range(200):
            tries = self.rng.uniform((0, -84, z_mm[0]), (128, 84, z_mm[1]), (4000, 3)) * (sign, 1, 1)
            x, y, z = (tries[:, axis].astype(np.float32) for axis in range(3))
            chosen.append(tries[self.shapes[side](x, y, z) < -depth_mm])
            if sum(map(len, chosen)) >= number:
                return np.concatenate(chosen)[:number]
        raise ValueError(f"the {side} lung has no room {depth_mm:.0f} mm deep at z {z_mm[0]:.0f} to {z_mm[1]:.0f} mm")

    def lung(self, side: SideName, cavity: Distance, blood_hu: float, seed: int) -> None:
        """Texture and vessels of one lung."""
        box, canvas = torso.side_box(side), self.canvas
        window, cover = canvas.paint(cavity, LUNG, f"thoracic_cavity_{side}", box=box)
        slope = LUNG_SLOPE * canvas.y[window[1]][None, :, None]
        canvas.hu[window] += cover * (slope + 16 * canvas.field(window, sigma_mm=2.4, seed=[seed, 1]))
        canvas.keep(self.shapes[side], f"lung_{side}", box=box)
        root = (52.0 if side == "right" else -52.0, -12.0, -20.0)
        tips = self.points(side, 480, 2.0, (-150, 92))
        for group in (tips[:250], tips[250:]):  # arteries, veins
            branches = grow(root, group, tip_radius_mm=0.7, root_radius_mm=6.0)
            self.vessels[side] += branches
            canvas.draw_branches(branches, blood_hu, within=f"lung_{side}")

    def bronchi(self, side: SideName, ratios: Mapping[SideName, float], wall_mm: float) -> list[Branch]:
        """Lumina of the bronchi of one lung; draws the arteries beside them where ``ratios`` has the side."""
        tips = self.points(side, 36, 14.0, (-130, 70))
        pieces = grow(MAIN_BRONCHUS[side][0], tips, tip_radius_mm=1.0, root_radius_mm=4.4)
        if side not in ratios:
            return pieces
        wider = float(np.sqrt(ratios[side]))
        lumina = [replace(piece, radius_mm=wider * piece.radius_mm) for piece in pieces]
        arteries = [lumen.beside(wall_mm + SHEATH_MM, radius_mm=lumen.radius_mm / ratios[side]) for lumen in lumina]
        self.canvas.draw_branches(arteries, BLOOD, within=f"lung_{side}")
        if ratios[side] > 1.0:
            name = f"bronchiectasis_{side}"
            self.canvas.draw_branches(lumina, AIR, within=f"lung_{side}", name=name, keep_hu=True)
            self.note("bronchiectasis", side, "bronchi", name, ("ratio", ratios[side]))
        return lumina

    def mosaic(self, contrast_hu: float, seed: int) -> None:
        """Patches of about 2 cm, half of both lungs, denser than the other half; vessels stay."""
        if contrast_hu <= 0:
            return
        canvas = self.canvas
        window = canvas.window(Box(low_mm=torso.side_box("left").low_mm, high_mm=torso.side_box("right").high_mm))
        dense = np.clip(0.5 + 4 * canvas.field(window, sigma_mm=PATCH_MM, seed=[seed, 4]), 0, 1)
        lungs = (canvas.masks["lung_left"] | canvas.masks["lung_right"])[window] & (canvas.hu[window] < -700)
        canvas.hu[window] += contrast_hu * (dense - 0.5) * lungs
        canvas.mark("mosaic_attenuation", window, (dense > 0.5) & lungs)
        self.note("mosaic_attenuation", None, "lung", "mosaic_attenuation")

    def emphysema(self, fraction: float, seed: int) -> None:
        """Holes of a few mm, half as likely at the bottom as at the top; ``fraction`` of the lungs is below -950 HU."""
        if fraction <= 0:
            return
        canvas = self.canvas
        low, high = torso.side_box("left").low_mm, torso.side_box("right").high_mm
        window = canvas.window(Box(low_mm=low, high_mm=high))
        field = canvas.field(window, sigma_mm=3.0, seed=[seed, 2]) + 0.006 * canvas.z[window[0]][:, None, None]
        lungs = (canvas.masks["lung_left"] | canvas.masks["lung_right"])[window]
        lung_hu = np.maximum(canvas.hu[window], EMPHYSEMA_HU)
        needed = (lung_hu - EMPHYSEMA_HU) / (lung_hu - BULLA)  # cover that brings a voxel to -950 HU
        rank = field - (needed - 0.5) / 4
        edge = np.quantile(rank[lungs], 1 - fraction)
        cover = np.clip(0.5 + 4 * (field - edge), 0, 1) * lungs
        canvas.blend(window, cover, BULLA)
        canvas.mark("emphysema", window, (rank > edge) & lungs)
        self.note("emphysema", None, "lung", "emphysema", ("fraction", 100 * fraction))

    def patch(self, name: str, finding: str, side: SideName, zone: Zone, ml: float, hu: float) -> None:
        """A wedge of a lung, longer than thick, cut by the lung's surface, of ``ml``."""
        lung = self.shapes[side]
        depth = 3.0 + 0.3 * (ml * 1000) ** (1 / 3)
        centre = as_point(self.points(side, 1, min(depth, 14.0), ZONES_MM[zone])[0])
        turn = float(self.rng.uniform(-40, 40))
        radius = _levels(lung, _scaled(centre, turn), [ml], (ml * 6000) ** (1 / 3) + 12, centre)[0]
        ball = torso.ellipsoid(centre, as_point(radius * np.asarray(WEDGE)), turn_degrees=turn)

        def shape(x: Floats, y: Floats, z: Floats) -> Floats:
            return np.asarray(np.maximum(lung(x, y, z), ball(x, y, z)))

        reach = max(WEDGE) * radius + 4.0
        low, high = (as_point(np.asarray(centre) + sign * reach) for sign in (-1, 1))
        box = Box(low_mm=low, high_mm=high)
        self.canvas.paint(shape, hu, name, box=box)
        self.note(finding, side, f"{zone}_zone", name)

    def layers(self, side: SideName, cavity: Distance, bounds: tuple[float, float, float]) -> None:
        """Fluid and airless lung behind, free air in front with the pleura as a line."""
        fluid, dense, air = bounds
        box = torso.side_box(side)
        for name, finding, hu, low, high in (
            (f"atelectasis_{side}", "atelectasis", COLLAPSED, fluid, dense),
            (f"effusion_{side}", "pleural_effusion", FLUID, -np.inf, fluid),
            (f"pneumothorax_{side}", "pneumothorax", AIR, air, np.inf),
        ):
            if high == low or high == -np.inf or low == np.inf:
                continue
            self.canvas.paint(_between(cavity, low, high), hu, name, box=box)
            self.note(finding, side, "lung" if finding == "atelectasis" else "pleura", name)
        if air < np.inf:
            self.canvas.paint(_between(cavity, air - 0.7, air + 0.7), -450, box=box)

    def calcium(self, coronary_mm3: float, aortic_mm3: float) -> None:
        """Plaques along the left coronary artery and the aortic arch, each of at most 40 mm3."""
        for finding, site, line, total in (
            ("coronary_artery_calcification", "coronary_arteries", torso.CORONARY, coronary_mm3),
            ("aortic_calcification", "aortic_arch", torso.AORTA[3:7], aortic_mm3),
        ):
            number, radius = plaques(total)
            for part in range(number):
                t = (part + 0.5) / number * (len(line) - 1)
                a, b = np.array(line[int(t)]), np.array(line[int(t) + 1])
                centre = a + (t - int(t)) * (b - a)
                if finding == "aortic_calcification":
                    centre = centre + np.array([0, 0, torso.AORTA_RADIUS_MM - 1])
                point = as_point(centre)
                self.canvas.draw_branches([Branch(point, point, radius)], CALCIUM_HU, name=finding, exact=True)
            self.note(finding, None, site, finding, ("volume", total / 1000))

    def nodule(self, number: int, side: SideName, zone: Zone, diameter: float, hu: float, touch: Neighbour) -> None:
        """A sphere in a lung, off the hilum and the earlier ones, beside what it touches."""
        places = self._places(side, zone, diameter, touch)
        off_hilum = np.hypot(np.abs(places[:, 0]) - 50, places[:, 1] + 12) + 0.5 * np.abs(places[:, 2] + 20)
        apart = [np.linalg.norm(places - t.centre_mm, axis=1) for t in self.truth if t.finding == "lung_nodule"]
        room = np.minimum.reduce([off_hilum, *apart])
        good = places[room > 30]
        point = as_point(good[0] if len(good) else places[int(np.argmax(room))])
        name = f"nodule_{number}"
        self.canvas.draw_branches([Branch(point, point, diameter / 2)], hu, name=name, exact=True)
        self.note("lung_nodule", side, f"{zone}_zone", name, ("diameter", diameter))

    def _places(self, side: SideName, zone: Zone, diameter: float, touch: Neighbour) -> NDArray[np.float64]:
        """(N, 3) RAS mm: where the centre of a nodule may lie."""
        if touch == "vessel":
            return self._beside_vessels(side, zone, diameter)
        if touch == "nothing":
            return self.points(side, 400, diameter / 2 + 4, ZONES_MM[zone])
        places = self.points(side, 4000, 0.4 * diameter, ZONES_MM[zone])  # sunk into the pleura by a tenth
        x, y, z = (places[:, axis].astype(np.float32) for axis in range(3))
        return places[self.shapes[side](x, y, z) > -0.5 * diameter]

    def _beside_vessels(self, side: SideName, zone: Zone, diameter: float) -> NDArray[np.float64]:
        """(N, 3) RAS mm: where a sphere touches the middle of a piece of vessel of 1 to 2.5 mm radius."""
        low, high = ZONES_MM[zone]
        places: list[NDArray[np.float64]] = []
        for piece in self.vessels[side]:
            start, end = np.asarray(piece.start), np.asarray(piece.end)
            middle = (start + end) / 2
            if not (1.0 <= piece.radius_mm <= 2.5 and np.linalg.norm(end - start) > 8.0 and low < middle[2] < high):
                continue
            across = np.cross(end - start, self.rng.standard_normal(3))
            places.append(middle + across / np.linalg.norm(across) * (piece.radius_mm + 0.45 * diameter))
        return np.array(places)


def _height(x: Floats, y: Floats, z: Floats) -> Floats:
    """What lies higher for a fluid when the person lies on the back, mm; fluid climbs the side wall a little."""
    return np.asarray(y + 0.10 * z - 14.0 * np.minimum((x / torso.WALL_MM[0]) ** 4, 1.0), dtype=np.float32)


def _scaled(centre: Point, turn_degrees: float) -> Distance:
    """How many times as large as WEDGE, turned about z, the ellipsoid about ``centre`` is that goes through a point."""
    cosine, sine = float(np.cos(np.deg2rad(turn_degrees))), float(np.sin(np.deg2rad(turn_degrees)))

    def times(x: Floats, y: Floats, z: Floats) -> Floats:
        u, v, w = x - centre[0], y - centre[1], z - centre[2]
        u, v = u * cosine + v * sine, v * cosine - u * sine
        return np.asarray(np.sqrt((u / WEDGE[0]) ** 2 + (v / WEDGE[1]) ** 2 + (w / WEDGE[2]) ** 2))

    return times


def _levels(
    inside: Distance, rank: Distance, volumes_ml: Sequence[float], reach_mm: float, centre: Point
) -> list[float]:
    """Values of ``rank`` below which a shape holds the given volumes; looks ``reach_mm`` round ``centre``."""
    z, y, x = (np.arange(middle - reach_mm, middle + reach_mm, LATTICE_MM, dtype=np.float32) for middle in centre[::-1])
    at = x[None, None, :], y[None, :, None], z[:, None, None]
    share = np.clip(0.5 - inside(*at) / LATTICE_MM, 0, 1)
    some = share > 0
    values = np.broadcast_to(rank(*at), share.shape)[some]
    order = np.argsort(values)
    filled = np.cumsum(share[some][order], dtype=np.float64) * LATTICE_MM**3 / 1000
    wanted = [ml if ml >= 0 else float(filled[-1]) + ml for ml in volumes_ml]  # from the top when negative
    if not len(filled) or max(wanted) > filled[-1] or min(wanted) < 0:
        raise ValueError(f"a space of {filled[-1] if len(filled) else 0:.0f} mL cannot hold {volumes_ml} mL")
    return [float(v) for v in np.interp(wanted, filled, values[order])]


def _bounds(cavity: Distance, fluid_ml: float, dense_ml: float, air_ml: float) -> tuple[float, float, float]:
    """Heights at which fluid ends, airless lung ends, and free air begins; infinite where there is none."""
    if fluid_ml + dense_ml + air_ml <= 0:
        return -np.inf, -np.inf, np.inf
    wanted = [fluid_ml, fluid_ml + dense_ml, -max(air_ml, 1e-6)]
    fluid, dense, air = _levels(cavity, _height, wanted, 150.0, (0.0, 0.0, -35.0))
    fluid = fluid if fluid_ml > 0 else -np.inf
    return fluid, dense if dense_ml > 0 else fluid, air if air_ml > 0 else np.inf


def _between(cavity: Distance, low: float, high: float) -> Distance:
    """The part of a cavity between two heights."""
    if low == -np.inf and high == np.inf:
        return cavity

    def distance(x: Floats, y: Floats, z: Floats) -> Floats:
        height = _height(x, y, z)
        return np.asarray(np.maximum(cavity(x, y, z), np.maximum(low - height, height - high)), dtype=np.float32)

    return distance


def _central() -> list[Branch]:
    """Trachea and main bronchi; radii are those of the lumen."""
    carina: Point = (0.0, -15.0, 0.0)
    return [Branch((0.0, -8.0, 160.0), carina, 8.5), *(Branch(carina, *MAIN_BRONCHUS[side]) for side in SIDES)]


def _grid(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], centre_mm: Point) -> Grid:
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = np.asarray(centre_mm) - (np.asarray(shape) - 1) / 2 * np.asarray(spacing_mm)
    return Grid(shape, affine)


def _add_noise(hu: Floats, noise_hu: float, kernel: str, seed: int) -> None:
    """Add the noise of a soft (blurred) or a sharp (edge-enhancing) kernel, slice by slice, in place."""
    if noise_hu <= 0:
        return
    for k in range(len(hu)):
        white = np.random.default_rng([seed, 3, k]).standard_normal(hu.shape[1:], dtype=np.float32)
        blurred = ndimage.gaussian_filter(white, 0.8)
        noise = blurred if kernel == "soft" else white - 0.7 * blurred
        hu[k] += noise * (noise_hu / (float(noise.std()) + 1e-9))


def _phantom(
    canvas: Canvas, truth: list[Truth], kernel: Literal["soft", "sharp"], thickness_mm: float, *, contrast: bool
) -> Phantom:
    hu = np.clip(np.rint(canvas.hu), AIR_HU, 3071).astype(np.int16).T  # (X, Y, Z), Fortran order
    scan = Scan(
        source="phantom", kernel=kernel, contrast=contrast, slice_thickness_mm=thickness_mm, tube_voltage_kv=120.0,
        patient_position="HFS",
    )  # fmt: skip
    drawn_last = canvas.masks["vertebrae"] | canvas.masks["spinal_canal"]
    for name in {"liver", "spleen", "stomach", "aorta"} & set(canvas.masks):
        canvas.masks[name] &= ~drawn_last  # bone was drawn over them
    masks = {name: Mask(name, voxels.T, canvas.grid) for name, voxels in canvas.masks.items()}
    return Phantom(Volume(hu, canvas.grid, scan), masks, truth)
