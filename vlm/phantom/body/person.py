"""Who lies in the scanner: everything about a body that is drawn by chance, from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlm.ct.volume import as_point

Sex = Literal["female", "male"]
Arms = Literal["up", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person. Lengths in mm; factors are 1 for the reference body of 175 cm."""

    seed: int
    sex: Sex
    age: int
    arms: Arms
    scale: tuple[float, float, float]  # x, y, z
    fat_mm: float  # under the skin of the belly
    visceral: float  # 0 lean .. 1 much fat between the organs
    muscle: float  # 0.8 wasted .. 1.15 trained
    kyphosis: float
    scoliosis_mm: float
    breath_mm: float  # how far the diaphragm stands above its middle place
    organs: dict[str, float]  # size of an organ, 1 is usual
    moved: dict[str, tuple[float, float, float]]  # how far an organ lies from its usual place, mm
    variants: dict[str, bool]

    @classmethod
    def of(cls, seed: int) -> Person:
        """The person that a seed makes."""
        rng = np.random.default_rng([seed, 1])
        sex: Sex = "female" if rng.random() < 0.5 else "male"
        age = int(rng.integers(22, 88))
        habitus = float(np.clip(rng.normal(0.35, 0.28), 0.0, 1.2))
        tall = float(rng.normal(0.94 if sex == "female" else 1.0, 0.035))
        wide = float((0.93 if sex == "female" else 1.0) * (1 + 0.10 * (habitus - 0.3)) * rng.normal(1, 0.03))
        deep = float((0.93 if sex == "female" else 1.0) * (1 + 0.22 * (habitus - 0.3)) * rng.normal(1, 0.035))
        fat = float(
            np.clip((34.0 if sex == "female" else 24.0) * (habitus + 0.15) * rng.lognormal(0, 0.2) * 1.5, 5, 60)
        )
        inner = np.clip((0.9 if sex == "male" else 0.55) * habitus * rng.lognormal(0, 0.3) + 0.05, 0.05, 1.0)
        sizes = {
            name: float(np.clip(rng.lognormal(0, deviation), 1 - 2.2 * deviation, 1 + 2.6 * deviation))
            for name, deviation in (
                ("liver", 0.17), ("spleen", 0.32), ("kidney_right", 0.09), ("kidney_left", 0.09), ("heart", 0.08),
                ("stomach", 0.17), ("bladder", 0.30), ("gallbladder", 0.18), ("pancreas", 0.15), ("aorta", 0.10),
                ("prostate", 0.18), ("uterus", 0.15), ("colon", 0.14), ("thyroid", 0.15),
            )
        }  # fmt: skip
        moved = {
            name: as_point(np.clip(rng.normal(0, 1, 3), -2, 2) * reach)
            for name, reach in (
                ("kidney_right", (4, 4, 11)), ("kidney_left", (4, 4, 11)), ("spleen", (5, 8, 9)),
                ("stomach", (9, 6, 12)),
                ("gallbladder", (8, 6, 10)), ("pancreas", (3, 3, 9)), ("heart", (5, 3, 7)), ("bladder", (3, 3, 3)),
                ("colon", (8, 6, 18)), ("uterus", (8, 5, 5)),
            )
        }  # fmt: skip
        variants = {
            "caudal_liver": rng.random() < 0.12, "beaver_tail": rng.random() < 0.12,
                "no_gallbladder": rng.random() < 0.1,
            "no_uterus": rng.random() < 0.12, "full_stomach": rng.random() < 0.4,
            "oral_contrast": rng.random() < 0.12, "left_bovine_arch": rng.random() < 0.15,
            "accessory_spleen": rng.random() < 0.15, "gas_filled_colon": rng.random() < 0.35,
            "one_kidney_ptotic": rng.random() < 0.06,
        }  # fmt: skip
        return cls(
            seed=seed, sex=sex, age=age, arms="up" if rng.random() < 0.65 else "down", scale=(wide, deep, tall),
            fat_mm=fat, visceral=float(inner), muscle=float(np.clip(rng.normal(1.05 - 0.004 * max(age - 50, 0),
                0.06), 0.75, 1.2)),
            kyphosis=float(np.clip(rng.normal(1 + 0.006 * max(age - 55, 0), 0.12), 0.7, 1.5)),
            scoliosis_mm=float(rng.normal(0, 4)), breath_mm=float(rng.normal(0, 9)), organs=sizes, moved=moved,
            variants=variants,
        )  # fmt: skip
