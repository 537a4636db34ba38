"""Stomach, colon and small bowel with what they hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vlm.phantom.body.labels import NUMBER
from vlm.phantom.body.organs import Line, Organs
from vlm.phantom.body.scene import Field, Window
from vlm.phantom.body.shapes import Floats, smooth_line

LOOP_STEP_MM = 6.0  # between points of the line through the small bowel
WIDE_MM = 13.8  # radius of loops that are wider than usual


class Gut(Organs):
    """Draws the hollow organs of the belly."""

    def stomach(self) -> None:
        """A bag with folds, filled with food below and gas in front."""
        scene, person = self.scene, self.person
        rng = scene.rng("stomach")
        fill = 1.25 if person.variants["full_stomach"] else float(rng.uniform(0.5, 1.05))
        s = person.organs["stomach"] * fill
        b = 0.8 * person.breath_mm
        sag = float(rng.normal(10 * (fill - 0.8), 14)) - (
            12 if person.sex == "female" else 0
        )  # a hook, or a steer's horn
        line = self.line_of(
            "stomach",
            (
                (-56, -36, 248 + b, 20),
                (-68, -16, 238 + b, 29),
                (-78, 18, 216 + b + 0.3 * sag, 33),
                (-72, 44, 190 + b + 0.7 * sag, 27),
                (-44, 58, 173 + sag, 22),
                (-2, 52, 160 + 0.8 * sag, 18),
                (24, 36, 166 + 0.2 * sag, 14),
                (38, 22, 166, 10),
            ),
        )
        line[:, 3] = np.maximum(line[:, 3] * s * np.linspace(1 + 0.15 * (1 - fill), 1, len(line)), 8.5)
        field = scene.tube(line, reach_mm=10)
        p = scene.place(field.window)
        folds = 1.4 * np.sin(p.z / 4.5 + p.x / 9) * np.sin(p.y / 5.0 + p.x / 7)
        field = Field(
            field.window, np.maximum(field.mm + 2 * np.sin(p.x / 21) * np.sin(p.z / 18), self.trunk.abdomen(p) + 2)
        )
        off = ("liver", "aorta", "inferior_vena_cava")
        self.press(field, "stomach", "gut_wall", off=off)
        wall = 3.0 + 3.0 * max(0.0, 1 - fill)  # an empty stomach is thick-walled
        inside = Field(field.window, field.mm + wall + folds.astype(np.float32) * (1.6 - 0.6 * fill))
        on = ("stomach",)
        scene.paint(
            inside, "stomach", "oral_contrast" if person.variants["oral_contrast"] else "stomach_content", on=on
        )
        level = float(rng.uniform(20, 75)) + person.moved["stomach"][1]
        gas = Field(field.window, np.maximum(inside.mm, (level - p.y).astype(np.float32)))
        scene.paint(gas, "stomach", "gut_gas", on=on)

    def colon(self) -> None:
        """The frame round the belly down to the rectum, with haustra, stool and gas."""
        scene, person = self.scene, self.person
        rng = scene.rng("colon")
        size = person.organs["colon"] * (1.12 if person.variants["gas_filled_colon"] else 1.0)
        w = 6.0 + 8.0 * person.visceral
        frame: Line = (
            (80, 10, 2, 20), (90, 8, 25, 24), (96 + w / 2, -8, 65, 21), (100 + w / 2, -22, 105, 20),
            (94, -2, 132, 20), (78, 42, 128, 19), (48, 74, 108, 19),
            (5, 84, 112 - 14 * person.visceral, 19), (-45, 80, 130, 20), (-84, 58, 168, 20), (-104, 10, 196, 20),
            (-108 - w / 2, -28, 172, 16), (-110 - w / 2, -30, 120, 15), (-106, -24, 65, 14),
            (-96, 4, 22, 14), (-74, 24, -5, 14), (-40, 26, -24, 15), (-8, 10, -6, 16), (18, -12, -24, 16),
            (8, -46, -48, 17), (0, -66, -75, 19), (0, -60, -104, 19), (0, -42, -128, 12), (0, -46, -148, 8),
        )  # fmt: skip
        line = self.line_of("", frame, size, 5.0)
        line[:, :3] += _wander(rng, len(line), 5.0)
        field = scene.tube(line, reach_mm=7)
        p = scene.place(field.window)
        haustra = 2.6 * np.sin(p.z / 6.5 + p.x / 7.5) * np.sin(p.y / 8.0 + p.x / 11.0)
        field = Field(field.window, np.maximum(field.mm + haustra, self.trunk.abdomen(p) + 2).astype(np.float32))
        for label, half in (("colon", -62 - p.z), ("rectum", p.z + 62)):
            name = "colon" if label == "colon" else "rectum"
            part = Field(field.window, np.maximum(field.mm, half))
            self.press(part, name, "gut_wall")
            scene.paint(part + 2.2, name, "stool" if not person.variants["oral_contrast"] else "oral_contrast")
        tree = cKDTree(line[:, :3])
        gas = _wander(rng, len(line), 1.0)[:, 0] + (0.55 if person.variants["gas_filled_colon"] else -0.1)
        inside = np.flatnonzero(field.mm < 0)
        points = np.stack([axis.ravel()[inside] for axis in (p.x, p.y, p.z)], axis=1)
        _, nearest = tree.query(points, workers=1)
        level = np.full(field.mm.size, 60.0, dtype=np.float32)  # gas rises to the front of each loop
        level[inside] = line[nearest, 1] - points[:, 1] - 14.0 * gas[nearest]
        bubble = Field(field.window, np.maximum(field.mm + 3.0, level.reshape(field.mm.shape)))
        scene.paint(bubble, None, "gut_gas", on=("colon", "rectum"))

    def small_bowel(self) -> None:
        """Loops of one long tube wander through what room is left and touch wall to wall."""
        scene, person = self.scene, self.person
        rng = scene.rng("small bowel")
        radius = float(rng.uniform(10.5, 13.5))
        wide = person.organs.get("small_bowel_mm")  # of a bowel that is blocked
        radius = wide / 2 if wide else radius
        low = np.array([-105.0, -45.0, -75.0])
        high = np.array([105.0, 100.0, 192.0])
        tries = rng.uniform(low, high, (3600, 3))
        q = self.trunk.at_points(tries)
        x = tries[:, 0]
        top = 150 - 0.4 * np.maximum(x, 0) + 40 * np.clip((-10 - x) / 30, 0, 1)  # the jejunum lies high on the left
        room = np.maximum(q["wall"] + radius + 1, np.maximum(tries[:, 2] - top, 12 - q["dome"]))
        spine = self.trunk.spine(tries[:, 2].astype(np.float32)) + 34 + 10 * (np.abs(tries[:, 0]) < 30)
        keep = (room < 0) & (tries[:, 1] > np.where(tries[:, 2] > -10, spine, -60))
        keep &= np.abs(x) < 98 - 40 * person.visceral * (tries[:, 2] < 60)
        chosen = _spread(tries[keep], radius * 1.6)
        if len(chosen) < 8:
            return
        path = _walk(chosen)
        line = np.column_stack([path, radius * (0.85 + 0.3 * rng.random(len(path)))])
        if wide:  # even loops, empty beyond the block
            line[:, 3] = np.where(np.arange(len(line)) < 0.85 * len(line), radius, 6.0)
        line = smooth_line(line, LOOP_STEP_MM)
        line[:, :3] += _wander(rng, len(line), 3.0)
        window = scene.window(((-135, 135), (-75, 122), (-105, 215)))
        if any(part.stop - part.start < 2 for part in window):
            return
        p = scene.place(window)
        points = np.stack([axis.ravel() for axis in (p.x, p.y, p.z)], axis=1)
        free = np.flatnonzero((p["wall"].ravel() < 0) & (self._open(window).ravel()))
        first, between = _loops(line, points[free], radius)
        mm = np.full(p.x.size, 30.0, dtype=np.float32)
        mm[free] = first
        wall = np.full(p.x.size, 30.0, dtype=np.float32)
        wall[free] = between
        field = Field(window, np.maximum(mm.reshape(p.x.shape), p["wall"] + 2.0))
        scene.paint(field, "small_bowel", "gut_wall", on=("torso_fat",))
        folds = 0.9 * np.sin(p.x / 1.9 + p.z / 2.3) * np.sin(p.y / 2.1)
        inner = np.maximum(field.mm + 2.2 + folds, 2.0 - wall.reshape(p.x.shape))
        scene.paint(
            Field(window, inner.astype(np.float32)),
            "small_bowel",
            "oral_contrast" if person.variants["oral_contrast"] else "gut_content",
            on=("small_bowel",),
        )
        gas = np.sin(p.x / 21 + 1) * np.sin(p.z / 25 + 2) * np.sin(p.y / 30)
        front = np.maximum(inner, np.maximum((0.55 - gas) * 20, 45 - p.y))
        if wide:  # gas stands above fluid in every other loop
            front = np.maximum(inner, np.maximum((-0.1 - gas) * 20, 38 - p.y))
        scene.paint(Field(window, front.astype(np.float32)), "small_bowel", "gut_gas", on=("small_bowel",))

    def _open(self, window: Window) -> NDArray[np.bool_]:
        """Where the lattice still shows fat (on a fine grid: everywhere)."""
        if self.scene.fine:
            return np.ones([part.stop - part.start for part in window], dtype=bool)
        return np.asarray(self.scene.labels[window] == NUMBER["torso_fat"])


def _wander(rng: np.random.Generator, count: int, mm: float) -> Floats:
    """(count, 3) smooth random steps aside."""
    knots = rng.normal(0, mm, (max(count // 8, 3), 3))
    return np.stack(
        [np.interp(np.linspace(0, len(knots) - 1, count), np.arange(len(knots)), knots[:, a]) for a in range(3)], axis=1
    )


def _spread(points: Floats, apart_mm: float) -> Floats:
    """Those points that no earlier kept one is near."""
    alive = np.ones(len(points), dtype=bool)
    for n in range(len(points)):
        if alive[n]:
            alive[n + 1 :] &= ((points[n + 1 :] - points[n]) ** 2).sum(axis=1) > apart_mm**2
    return points[alive]


def _walk(points: Floats) -> Floats:
    """Points in the order of a walk that always goes to the nearest one not yet seen."""
    left = list(range(1, len(points)))
    order = [0]
    while left:
        away = np.linalg.norm(points[left] - points[order[-1]], axis=1)
        order.append(left.pop(int(np.argmin(away))))
    return points[order]


def _loops(line: Floats, points: Floats, radius: float) -> tuple[Floats, Floats]:
    """Distance of points to a winding tube, and how far each is from the border to the tube's next loop."""
    tree = cKDTree(line[:, :3])
    many = 7 if radius < WIDE_MM else 24  # of a wide loop the nearest points are all its own
    away, index = tree.query(points, k=many, distance_upper_bound=radius * 2.6, workers=1)
    nearest = index[:, 0]
    ok = nearest < len(line)
    apart = np.abs(index - nearest[:, None]) > 36 / LOOP_STEP_MM
    other = np.where(apart & (index < len(line)), away, 60.0).min(axis=1)
    own = np.where(ok, line[np.minimum(nearest, len(line) - 1), 3], 0.0)
    first = np.where(ok, away[:, 0] - own, 30.0)
    between = np.where(ok, 0.5 * (other - away[:, 0]), 30.0)
    return np.asarray(first, dtype=np.float32), np.asarray(between, dtype=np.float32)
