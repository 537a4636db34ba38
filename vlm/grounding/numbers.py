"""When a printed number is the measured one: unit, rounding, which length it is, and bounds.

A number is printed as ``Measurement.rounded`` says. Centimetres and litres may be printed
with fewer digits, as long as what is lost stays within 5 %.
"""

from __future__ import annotations

from collections.abc import Collection

from vlm.evidence import Measurement, Observation, Search
from vlm.grounding.claims import Kind, Number

LOSS_BY_UNIT = 0.05  # share of the value that a change of unit may round away; half of the 10 % that must be caught

KIND_QUANTITIES: dict[Kind, tuple[str, ...]] = {
    "distance": ("distance",),
    "volume": ("volume",),
    "attenuation": ("attenuation", "attenuation_sd"),
    "fraction": ("fraction", "height_loss"),
    "angle": ("angle",),
    "ratio": ("ratio",),
    "score": ("score",),
    "bare": ("ratio", "score", "count"),
}
# The length that an unqualified "17 mm" means: the first of these that was measured.
LENGTHS = ("diameter", "diameter_3d", "short_axis", "thickness", "height")
NODE_LENGTHS = ("short_axis", "diameter")  # a node is measured by its short axis (RECIST 1.1)
# The lengths of "17 x 14 mm" and "17 x 14 x 20 mm", largest number first within the slice.
CROSSED = (("diameter",), ("short_axis",), ("height", "diameter_3d"))

Record = Observation | Search


def carrying(number: Number, measurements: Collection[Measurement], finding: str) -> list[Measurement]:
    """The measurements that a number of this kind may print."""
    by_name = {m.quantity: m for m in measurements}
    if number.kind != "size":
        return [by_name[name] for name in KIND_QUANTITIES.get(number.kind, ()) if name in by_name]
    if number.of > 1 and not number.crossed:
        return []  # a range is no measurement of one thing
    if number.of > 1:
        names: tuple[str, ...] = CROSSED[number.order] if number.order < len(CROSSED) else ()
        return [by_name[name] for name in names if name in by_name]
    if number.quantities:
        return [by_name[name] for name in number.quantities if name in by_name]
    lengths = NODE_LENGTHS if finding == "lymphadenopathy" else LENGTHS
    first = next((by_name[name] for name in lengths if name in by_name), None)
    return [first] if first else []


def prints(number: Number, measurement: Measurement) -> bool:
    """True when the number is what a reader should see of this measurement."""
    shown = measurement.rounded
    if number.bound == "at_least":
        return shown >= number.in_ledger_unit
    if number.bound == "at_most":
        return shown <= number.in_ledger_unit
    if number.factor == 1.0:
        return abs(number.value - shown) < 1e-6
    lost = abs(shown / number.factor - number.value)
    return lost <= 0.5 * 10.0**-number.decimals + 1e-9 and lost <= LOSS_BY_UNIT * abs(shown / number.factor) + 1e-9


def printed_by(number: Number, measurements: Collection[Measurement], finding: str) -> Measurement | None:
    """The measurement that a number prints, or None."""
    return next((m for m in carrying(number, measurements, finding) if prints(number, m)), None)
