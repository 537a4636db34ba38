"""The ledger that the tests of the checker share: one chest scan, known by hand."""

from __future__ import annotations

from vlm.evidence import Box, Coverage, Ledger, Measured, Measurement, Observation, Region, Search, Side
from vlm.grounding import Context, Statement, Verdict, check, explain


def measure(quantity: str, value: float, plus_minus: float | None = None) -> Measurement:
    return Measurement(quantity=quantity, value=value, plus_minus=plus_minus)


def seen(
    finding: str,
    *measurements: Measurement,
    side: Side | None = None,
    site: str | None = None,
    presence: str = "present",
    probability: float | None = None,
    region: Region | None = None,
    **attributes: str,
) -> Observation:
    return Observation(
        tool="test",
        finding=finding,
        presence=presence,  # type: ignore[arg-type]  # one of Presence
        probability=probability,
        side=side,
        site=site,
        measurements=measurements,
        attributes=attributes,
        region=region,
        note="by hand",
    )


def looked(
    finding: str,
    *failed: str,
    covered: float = 1.0,
    found: int = 0,
    side: Side | None = None,
    site: str | None = None,
    smallest: Measurement | None = None,
    measurements: tuple[Measurement, ...] = (),
) -> Search:
    return Search(
        tool="test",
        finding=finding,
        covered=covered,
        found=found,
        side=side,
        site=site,
        smallest=smallest,
        failed=failed,
        measurements=measurements,
    )


BOX = Box(low_mm=(0.0, 0.0, 0.0), high_mm=(17.0, 14.0, 12.0))
SLICES_40_TO_50 = Region(centroid_mm=(8.0, 7.0, 6.0), box_mm=BOX, slices=(39, 49))
ML, MM = "volume", "diameter"


def chest() -> Ledger:
    """E1 to E25, always the same."""
    ledger = Ledger()
    for record in (
        seen(  # E1
            "lung_nodule",
            measure(MM, 17.2, 1.0),
            measure("short_axis", 13.8, 1.0),
            measure("distance", 6.2),
            side="right",
            site="upper_lobe",
            region=SLICES_40_TO_50,
            density="solid",
        ),
        seen(  # E2
            "lung_nodule",
            measure(MM, 8.1, 1.0),
            measure("short_axis", 6.9, 1.0),
            side="left",
            site="lower_lobe",
            density="part_solid",
        ),
        seen("pleural_effusion", measure(ML, 423, 20), side="right"),  # E3
        looked("pleural_effusion", side="right", found=1, smallest=measure(ML, 15)),  # E4
        looked("pleural_effusion", side="left", smallest=measure(ML, 15)),  # E5
        looked("pneumothorax", side="right", smallest=measure(ML, 5)),  # E6
        looked("pneumothorax", side="left", smallest=measure(ML, 5)),  # E7
        looked("lung_nodule", found=2, smallest=measure(MM, 6)),  # E8
        looked("lung_mass", smallest=measure(MM, 30)),  # E9
        looked("consolidation", "partly_covered", covered=0.7, smallest=measure(ML, 2)),  # E10
        looked("cardiomegaly", measurements=(measure("ratio", 0.468),)),  # E11
        seen("coronary_artery_calcification", measure("score", 204)),  # E12
        seen("vertebral_fracture", measure("height_loss", 31), site="T8"),  # E13
        seen("kidney_stone", measure(MM, 5.2), side="left"),  # E14
        looked("pulmonary_embolism", "no_contrast"),  # E15
        looked("liver_lesion", "no_contrast"),  # E16
        Coverage(tool="test", site="pelvis", covered=0.0),  # E17
        Coverage(tool="test", site="upper_abdomen", covered=0.6),  # E18
        Measured(tool="test", site="ascending_aorta", measurements=(measure(MM, 34.4),), note="by hand"),  # E19
        seen("emphysema", measure("fraction", 8.2), side="bilateral", site="upper_zone"),  # E20
        seen(  # E21
            "lymphadenopathy",
            measure("short_axis", 13),
            measure(MM, 19),
            side="left",
            site="axilla",
            presence="uncertain",
            probability=0.4,
        ),
        looked("hiatal_hernia"),  # E22: nobody measured its limit
        seen(  # E23
            "consolidation",
            measure("fraction", 12),
            side="left",
            site="lower_lobe",
            presence="uncertain",
            probability=0.7,
        ),
        looked("pericardial_effusion", "not_implemented", covered=0.0),  # E24
        seen("ascites", measure(ML, 1234)),  # E25
    ):  # fmt: skip
        ledger.add(record)
    return ledger


LEDGER = chest()


def verdict(text: str, *cites: str, section: str = "lungs_and_pleura", context: Context | None = None) -> Verdict:
    """What the checker says of one sentence."""
    return check([Statement(id="S1", section=section, text=text, cites=cites)], LEDGER, context=context)["S1"]


def verdicts(
    text: str, *cites: str, section: str = "lungs_and_pleura", context: Context | None = None
) -> list[Verdict]:
    """Everything the checker says of one sentence, worst first."""
    return explain([Statement(id="S1", section=section, text=text, cites=cites)], LEDGER, context=context)["S1"]
