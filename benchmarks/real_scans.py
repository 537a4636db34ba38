"""What `read` finds on real scans whose visible findings are known: hits, misses, false findings.

    python -m benchmarks.real_scans [--only NAME ...] [--write-docs]

A listed finding is hit when an observation of the same kind is present on the same side and,
where a place or size is given, within 8 mm of place and 4 mm of size (the nearer of the
in-plane and the 3D diameter counts). The reads were made from
rendered slices, not by a radiologist; what is not listed is unread, not absent.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.reading import read_scan
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.findings.vocabulary import load_vocabulary
from vlm.report import FINDINGS_SECTIONS, EvidenceRecord, Report

SHARED = Path(os.environ.get("TOMOSCRIBE_SHARED", ROOT.parent / "shared"))
SIZE_MM, PLACE_MM = 4.0, 8.0
FALSE_NODULE_MM = 6.0

# Words of the list -> keys of the vocabulary that name the same thing on an image.
KINDS: Mapping[str, tuple[str, ...]] = {
    "nodule": ("lung_nodule", "lung_mass"),
    "mass": ("lung_mass", "lung_nodule"),
    "emphysema": ("emphysema",),
    "coronary artery calcification": ("coronary_artery_calcification",),
    "aortic calcification": ("aortic_calcification", "arterial_wall_calcification"),
    "pleural effusion": ("pleural_effusion",),
    "atelectasis": ("atelectasis", "lobar_collapse"),
    "volume loss": ("lung_volume_loss", "lobar_collapse"),
    "central venous port": ("port",),
    "central venous catheter": ("central_venous_catheter",),
    "biliary stent": ("biliary_stent",),
    "pneumobilia": ("pneumobilia",),
    "metal implant": ("orthopaedic_hardware", "medical_material"),
    "hilar and mediastinal soft tissue": ("lymphadenopathy",),
    "pneumothorax": ("pneumothorax",),
    "consolidation": ("consolidation",),
    "pericardial effusion": ("pericardial_effusion",),
    "ascites": ("ascites",),
    "free air": ("pneumoperitoneum",),
    "hydronephrosis": ("hydronephrosis",),
    "renal cyst": ("renal_cyst",),
    "renal hypodense lesion": ("renal_hypodensity", "renal_cyst"),
    "distended bladder": ("bladder_distension",),
    "pancreatic mass": ("pancreatic_lesion",),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One listed finding of one scan, and what became of it."""

    scan: str
    finding: str
    side: str
    outcome: str  # "hit", "miss", "no tool", "false", "clear", "not assessed"
    detail: str


def judge_scan(name: str, listed: Mapping[str, Any], report: Report) -> list[Row]:
    """Compare a report with what is listed for its scan."""
    present = {n: e for n, e in report.evidence.items() if e.kind == "observation" and e.presence == "present"}
    rows = [judge_finding(name, entry, present) for entry in listed["findings"]]
    rows += [judge_absence(name, words, report, present) for words in listed.get("absent", ())]
    return rows


def judge_finding(scan: str, entry: Mapping[str, Any], present: Mapping[str, EvidenceRecord]) -> Row:
    kinds = KINDS.get(entry["finding"])
    side = entry.get("side") or ""
    label = entry["finding"]
    if kinds is None:
        return Row(scan, label, side, "no tool", "not a finding of any tool")
    same = [e for e in present.values() if e.finding in kinds and _same_side(side, e)]
    if not same:
        return Row(scan, label, side, "miss", "")
    best = min(same, key=lambda e: _distance(entry, e))
    place, size = _distance(entry, best), _size_error(entry, best)
    detail = ", ".join(
        text
        for text in (
            f"{place:.0f} mm off" if "centre_ras_mm" in entry else "",
            f"size {size:+.0f} mm" if "size_mm" in entry and math.isfinite(size) else "",
            best.finding or "",
        )
        if text
    )
    placed = place <= PLACE_MM or "centre_ras_mm" not in entry
    good = placed and (abs(size) <= SIZE_MM or "size_mm" not in entry)
    return Row(scan, label, side, "hit" if good else "miss", detail)


def judge_absence(scan: str, words: str, report: Report, present: Mapping[str, EvidenceRecord]) -> Row:
    """A finding that is listed as absent must not be reported; "not assessed" is no error."""
    side = next((s for s in ("left", "right") if words.startswith(s)), "")
    plain = words.removeprefix(side).partition("(")[0].strip()
    name = "nodule" if "nodule" in plain else plain
    kinds = KINDS.get(name, (name.replace(" ", "_"),))
    if name in ("nodule", "mass"):
        kinds = ("lung_nodule", "lung_mass")
    wrong = [n for n, e in present.items() if e.finding in kinds and _same_side(side, e) and _large_enough(name, e)]
    allowed = 1 if name == "nodule" else 0
    if wrong:
        return Row(scan, f"no {words}", side, "false" if len(wrong) > allowed else "clear", f"{len(wrong)} reported")
    said = any(
        s.section in FINDINGS_SECTIONS and any(report.evidence[c].finding in kinds for c in s.cites)
        for s in report.sentences
    )
    return Row(scan, f"no {words}", side, "clear" if said else "not assessed", "")


def _same_side(wanted: str, record: EvidenceRecord) -> bool:
    """Sides agree; a finding that has no side of its own (coronary calcification) agrees with both."""
    if not wanted or record.side in (wanted, "bilateral"):
        return True
    if record.side is None:
        return load_vocabulary().finding(record.finding or "").side != "sided"
    return wanted == "bilateral"


def _distance(entry: Mapping[str, Any], record: EvidenceRecord) -> float:
    if "centre_ras_mm" not in entry:
        return -max((m.value for m in record.measurements if m.quantity in ("diameter", "volume")), default=0.0)
    return math.dist(entry["centre_ras_mm"], record.region.centroid_mm) if record.region else math.inf


def _size_error(entry: Mapping[str, Any], record: EvidenceRecord) -> float:
    """The smallest difference of a measured length to the longest listed in-plane one, mm."""
    listed = entry.get("size_mm")
    lengths = [m.value for m in record.measurements if m.quantity in ("diameter", "diameter_3d")]
    if not listed or not lengths:
        return math.inf
    return min((value - max(listed[:2]) for value in lengths), key=abs)


def _large_enough(name: str, record: EvidenceRecord) -> bool:
    if name != "nodule":
        return True
    return any(m.value >= FALSE_NODULE_MM for m in record.measurements if m.quantity == "diameter")


def markdown(rows: list[Row], seconds: Mapping[str, float]) -> str:
    """The table of finding by scan, with the sums on top."""
    listed = [row for row in rows if not row.finding.startswith("no ")]
    hits = sum(row.outcome == "hit" for row in listed)
    false = sum(row.outcome == "false" for row in rows)
    lines = [
        f"{hits} of {len(listed)} listed findings hit, {false} reported against the list, {len(seconds)} scans.",
        "",
        "| scan | finding | side | outcome | detail |",
        "|---|---|---|---|---|",
        *(f"| {r.scan} | {r.finding} | {r.side} | {r.outcome} | {r.detail} |" for r in rows),
        "",
        "Seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()) + ".",
    ]
    return "\n".join(lines)


def scan_path(name: str) -> Path:
    """The scan's file below the shared folder."""
    folder = SHARED / "ct" / name
    volume = folder / "ct.nii.gz"
    return volume if volume.exists() else folder / "dicom.zip"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    known = json.loads((SHARED / "ct" / "findings.json").read_text(encoding="utf-8"))
    rows: list[Row] = []
    seconds: dict[str, float] = {}
    for name, listed in known.items():
        if name.startswith("_") or (options.only and name not in options.only):
            continue
        start = time.perf_counter()
        report = read_scan(scan_path(name)).report
        seconds[name] = time.perf_counter() - start
        rows += judge_scan(name, listed, report)
    text = f"{markdown(rows, seconds)}\n\n{stamp('python -m benchmarks.real_scans')}"
    print(text)
    if options.write_docs:
        write_section(ROOT / "docs" / "real_scans.md", "real scans", text)


if __name__ == "__main__":
    main()
