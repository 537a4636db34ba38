"""What can be put into a body: one entry a finding, with its parameters and the function that draws it.

    @finding("liver_cyst", size=Size("diameter", 20.0, 3.0, 150.0), example="liver cyst 3 cm")
    def liver_cyst(drawing: Drawing, wish: Wish) -> None: ...

An entry checks a wish before anything is drawn: a size of the wrong kind or out of reach, a side that is
missing or makes no sense, a site or an attribute that this finding cannot have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

from vlm.phantom.body.wishes import Wish, refuse

if TYPE_CHECKING:
    from vlm.phantom.body.findings.drawing import Drawing
    from vlm.phantom.body.patient import Patient

Painter = Callable[["Drawing", Wish], None]
Preparer = Callable[["Patient", Wish], None]
SideRule = Literal["must", "may", "none"]

GRADES: Mapping[str, float] = {  # of the usual volume
    "trace": 0.15, "minimal": 0.25, "slight": 0.4, "small": 0.5, "mild": 0.5, "moderate": 1.0, "marked": 1.8,
    "severe": 2.5, "large": 2.5, "massive": 4.0,
}  # fmt: skip
UNITS = {  # quantity of the truth: what of a wish holds it, and how it is written
    "diameter": ("mm", "mm"), "short_axis": ("mm", "mm"), "thickness": ("mm", "mm"), "volume": ("ml", "ml"),
    "fraction": ("percent", "%"), "height_loss": ("percent", "%"), "attenuation": ("hu", "HU"),
    "attenuation_difference": ("hu", "HU"),
    "ratio": ("ratio", "a ratio"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Size:
    """The parameter of a finding: a quantity of ``vlm.evidence``, its usual value, and what is possible."""

    quantity: str
    usual: float
    low: float
    high: float
    grades: Mapping[str, float] = field(default_factory=dict)  # where grades are not shares of the usual value
    ball: bool = False  # a volume that may be given as the diameter of a ball

    def of(self, wish: Wish) -> float:
        """The size that a wish asks for.

        Raises:
            UsageError: it is given in another unit, or is impossible.
        """
        name, unit = UNITS[self.quantity]
        said = {n: value for n in ("mm", "ml", "percent", "hu", "ratio") if (value := getattr(wish, n)) is not None}
        if name == "mm" and self.quantity == "diameter" and "ml" in said:  # a ball's
            said["mm"] = float(np.cbrt(said.pop("ml") * 6000 / np.pi))
        if self.ball and "mm" in said:
            said["ml"] = float(np.pi / 6 * said.pop("mm") ** 3 / 1000)
        if set(said) - {name}:
            raise refuse(wish.words, f"the size of this finding is given in {unit}.")
        value = float(said.get(name, self._usual(wish)))
        if not self.low <= value <= self.high:
            raise refuse(wish.words, f"{value:.3g} {unit} is not possible, {self.low:g} to {self.high:g} is.")
        return value

    def _usual(self, wish: Wish) -> float:
        if (wish.grade or "") in self.grades:
            return self.grades[wish.grade or ""]
        share = GRADES.get(wish.grade or "", 1.0)
        if self.quantity in ("diameter", "short_axis", "thickness"):
            share = share ** (1 / 3)
        value = self.usual * share if self.quantity not in ("attenuation", "ratio") else self.usual
        return float(np.clip(value, self.low, self.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One finding."""

    finding: str  # a key of the vocabulary
    example: str  # words that put it in
    size: Size | None
    side: SideRule
    sites: tuple[str, ...]  # besides none at all
    attributes: tuple[str, ...]
    many: bool  # whether a number of them can be asked for
    room: bool  # takes room from organs (fluid, free air), so it is drawn before what lies in them
    paint: Painter
    prepare: Preparer | None  # changes the person before the body is drawn

    def check(self, wish: Wish) -> None:
        """Refuse a wish that no body can fulfil.

        Raises:
            UsageError: it says why in one line.
        """
        if self.side == "must" and wish.side is None:
            raise refuse(wish.words, "it names no side. Say left or right.")
        if self.side == "none" and wish.side is not None:
            raise refuse(wish.words, f"this finding has no {wish.side} side.")
        if wish.site is not None and wish.site not in self.sites:
            where = ", ".join(self.sites).replace("_", " ") or "no place by name"
            raise refuse(wish.words, f"it cannot be in the {wish.site.replace('_', ' ')}. It can be in: {where}.")
        if strange := sorted(wish.attributes - set(self.attributes)):
            can = ", ".join(self.attributes).replace("_", " ") or "nothing more"
            raise refuse(wish.words, f"it cannot be {', '.join(strange).replace('_', ' ')}. It can be: {can}.")
        if wish.count > 1 and not self.many:
            raise refuse(wish.words, "there is one of it. Give each its own --finding.")
        if self.size is not None:
            self.size.of(wish)
        elif any(getattr(wish, name) is not None for name in ("mm", "ml", "percent", "hu", "ratio")):
            raise refuse(wish.words, "it has no size that can be chosen.")


_ENTRIES: dict[str, Entry] = {}
FINDINGS: Mapping[str, Entry] = MappingProxyType(_ENTRIES)


def finding(
    key: str,
    *,
    example: str,
    size: Size | None = None,
    side: SideRule = "none",
    sites: tuple[str, ...] = (),
    attributes: tuple[str, ...] = (),
    many: bool = False,
    room: bool = False,
    prepare: Preparer | None = None,
) -> Callable[[Painter], Painter]:
    """Enter a painter under a key of the vocabulary."""

    def enter(paint: Painter) -> Painter:
        _ENTRIES[key] = Entry(
            finding=key, example=example, size=size, side=side, sites=sites, attributes=attributes, many=many,
            room=room, paint=paint, prepare=prepare,
        )  # fmt: skip
        return paint

    return enter
