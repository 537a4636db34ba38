"""What report.json holds beside the sentences: the scan, the evidence, what was off, what made it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version

import numpy as np

from vlm.anatomy.laterality import laterality
from vlm.anatomy.structures import asked
from vlm.ct import Volume
from vlm.encoder import availability
from vlm.evidence import Case
from vlm.report import CapabilityOff, CaseRecord, EvidenceRecord, Geometry, evidence_record
from vlm.tools import Tool

PACKAGES = ("tomoscribe", "numpy", "scipy", "SimpleITK", "scikit-image", "connected-components-3d", "edt", "pydicom")


def evidence(case: Case, tools: Mapping[str, Tool]) -> dict[str, EvidenceRecord]:
    """The ledger as report.json holds it."""
    records = {}
    for name, record in case.ledger:
        mask = record.region.mask if record.region else None
        known = tools.get(record.tool)
        records[name] = evidence_record(
            record,
            version=known.version if known else version("tomoscribe"),
            mask_file=f"masks/{mask}.nii.gz" if mask else None,
        )
    return records


def case_record(volume: Volume) -> CaseRecord:
    """The scan as report.json holds it; nothing that tells who it is."""
    scan, grid = volume.scan, volume.grid
    affine = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in np.round(grid.affine, 6))
    x_mm, y_mm, z_mm = (round(step, 6) for step in grid.spacing_mm)
    return CaseRecord(
        id=volume.sha256[:16],
        source=scan.source,
        scan={
            "series": scan.series,
            "kernel": scan.kernel,
            "contrast": scan.contrast,
            "slice_thickness_mm": scan.slice_thickness_mm,
            "tube_voltage_kv": scan.tube_voltage_kv,
            "exposure_mas": scan.exposure_mas,
            "tilt_degrees": scan.tilt_degrees,
            "patient_position": scan.patient_position,
            "lossy": scan.lossy,
        },
        geometry=Geometry(shape=grid.shape, spacing_mm=(x_mm, y_mm, z_mm), affine=affine),
    )


def capabilities_off(
    case: Case,
    failures: Mapping[str, str],
    language: CapabilityOff | None = None,
    similar: CapabilityOff | None = None,
    impressions: CapabilityOff | None = None,
) -> tuple[CapabilityOff, ...]:
    """What the product can or will do that had no part in this report.

    Args:
        case: the scan.
        failures: tool -> kind of exception.
        language: why no language model worded it, or not all of it; None: one did.
        similar: why there are no similar cases, or none by their images; None: there are.
        impressions: why the language model says nothing of the image although it was asked to.
    """
    off = [
        CapabilityOff(
            capability=f"tool {name}",
            reason=f"it failed on this scan with {kind}; what it looks for is not assessed",
            remedy="Run again with TOMOSCRIBE_DEBUG=1 and report what it prints.",
        )
        for name, kind in failures.items()
    ]
    sides = laterality(case)
    if sides.verdict == "contradicted":
        against = ", ".join(sign.says for sign in sides.signs if sign.vote < 0)
        off.append(
            CapabilityOff(
                capability="left and right",
                reason=f"the anatomy contradicts the header: {against}",
                remedy="Check how the scan was exported, or for situs inversus.",
            )
        )
    encoder = availability()
    off.append(
        CapabilityOff(
            capability="image encoder",
            reason=encoder.reason or "no sentence of a report rests on it in this version",
            remedy=encoder.remedy or "Nothing to do; the report is made from measurements alone.",
        )
    )
    return (*off, *(part for part in (language, similar, impressions) if part is not None))


def anatomy_record(case: Case) -> dict[str, object]:
    """Who found what: each structure that was asked for by name, with how good its engine is on other patients.

    All other anatomy that tools stand on (cavities, airways, levels …) is by rules.
    """
    chosen = {
        name: {"state": seen.state, "engine": seen.engine, "quality": seen.quality, "measurable": seen.measurable}
        for name, seen in sorted(asked(case).items())
    }
    return {"structures": chosen, "otherwise": f"rules {version('tomoscribe')}"}


def provenance(volume: Volume, tools: Mapping[str, Tool], prior: Mapping[str, object] | None) -> dict[str, object]:
    """What made the report: versions, the input's hash, the writer, the tools, and the prior where one was given."""
    return {
        **({} if prior is None else {"prior": prior}),
        **{name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "input_sha256": volume.sha256,
        "writer": "compose",
        "tools": {name: tool.version for name, tool in tools.items()},
    }
