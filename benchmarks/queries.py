"""Queries in a doctor's and in a patient's words on real scans whose visible findings are known.

    python -m benchmarks.queries [--only NAME ...] [--write-docs]

For each listed finding: its name with its side, the same in lay words, the other side, and its denial. For each stated
absence: its name, its denial, lay words. A swapped side is wrong only when the answer puts the finding on that side and
not on its own; what is not listed there is unread. "Cannot say" is counted apart: it claims nothing, and helps nobody.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.asking import answer
from app.known import know
from benchmarks.real_scans import KINDS, SHARED
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.query import read_query

OTHER = {"left": "right", "right": "left"}
# A patient's words, by one author, none of them in the vocabulary as they stand.
LAY: Mapping[str, str] = {
    "nodule": "a lump in the lung", "mass": "a growth in the lung", "emphysema": "destroyed air sacs",
    "coronary artery calcification": "chalk in the arteries of the heart",
    "aortic calcification": "calcium in the main artery", "pleural effusion": "water on the lung",
    "pneumothorax": "air beside the lung", "pericardial effusion": "liquid around the heart",
    "ascites": "water in the belly", "free air": "free gas in the belly",
    "hydronephrosis": "kidney backed up with urine", "renal cyst": "bubble of water in the kidney",
    "biliary stent": "a little tube in the bile duct", "pneumobilia": "gas in the bile ducts",
    "central venous catheter": "a drip line in the big vein", "central venous port": "an infusion port",
    "consolidation": "part of the lung full of stuff instead of air",
}  # fmt: skip
# What is there ranks above what is not; an answer that says nothing lies between the two, as far from either.
RANK = {"present": 1.0, "uncertain": 0.75, "not_assessed": 0.5, "limited": 0.25, "absent": 0.0}
KINDS_OF_QUERY = ("present", "present, lay words", "present, denied", "side swapped", "absent", "absent, lay words",
                  "absent, denied")  # fmt: skip


def queries(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, bool, str]]:
    """(kind, words, truth, finding of the list) for one scan."""
    vocabulary = load_vocabulary()
    seen = set()
    for listed in entry["findings"]:
        name, side = listed["finding"], listed.get("side")
        if name not in KINDS or (name, side) in seen:
            continue
        seen.add((name, side))
        plain = vocabulary.finding(KINDS[name][0]).name
        sided = f"{side} {plain}" if side in OTHER and vocabulary.finding(KINDS[name][0]).side == "sided" else plain
        yield "present", sided, True, name
        yield "present, denied", f"no {sided}", False, name
        if name in LAY:
            yield "present, lay words", LAY[name] + (f" on the {side}" if sided != plain else ""), True, name
        others = {f.get("side") for f in entry["findings"] if _is(f["finding"], name)}
        if sided != plain and not others & {OTHER[side], "bilateral", None}:
            yield "side swapped", f"{OTHER[side]} {plain}", False, name
    for name in entry.get("absent", ()):
        if name in KINDS:
            plain = vocabulary.finding(KINDS[name][0]).name
            yield "absent", plain, False, name
            yield "absent, denied", f"no {plain}", True, name
            if name in LAY:
                yield "absent, lay words", LAY[name], False, name


def _is(listed: str, asked: str) -> bool:
    """Whether one finding of the list is another, or a kind of it: a cyst of the kidney is a hypodense lesion of it."""
    vocabulary = load_vocabulary()
    return any(vocabulary.is_a(key, wanted) for key in KINDS.get(listed, ()) for wanted in KINDS[asked])


def judged(kind: str, truth: bool, told: Mapping[str, Any], own_side: Mapping[str, Any]) -> str:
    """Whether an answer is right, wrong, or says nothing."""
    if kind == "side swapped":
        return "wrong" if told["holds"] is True and own_side["holds"] is not True else "right"
    if told["holds"] is None:
        return "cannot say"
    return "right" if told["holds"] is truth else "wrong"


def ranked(there: list[float], absent: list[float]) -> tuple[int, int]:
    """Of pairs of what is there and what is not, in one scan: how many are ranked rightly, and how many there are."""
    return sum(one > other for one in there for other in absent), len(there) * len(absent)


def main() -> None:
    """Read every scan, ask, print, and with --write-docs put the table into its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    listed = json.loads((SHARED / "ct" / "findings.json").read_text(encoding="utf-8"))
    count: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS_OF_QUERY}
    failed: list[str] = []
    rightly = pairs = 0
    for name, entry in listed.items():
        if name.startswith("_") or (options.only and name not in options.only):
            continue
        folder = SHARED / "ct" / name
        known = know(next(p for p in (folder / "ct.nii.gz", folder / "dicom.zip") if p.is_file()))
        own: dict[str, Any] = {}
        rank: dict[str, list[float]] = {kind: [] for kind in KINDS_OF_QUERY}
        for kind, words, truth, finding in queries(entry):
            told = answer(read_query(words), known.ledger)
            own = told if kind == "present" else own
            verdict = judged(kind, truth, told, own)
            count[kind][verdict] += 1
            rank[kind].append(RANK[told["status"]])
            if verdict != "right":
                read = ", ".join(told["findings"]) or "nothing"
                failed.append(f"| {name} | {words} | {kind} ({finding}) | {verdict} | {told['why']} | {read} |")
        right, both = ranked(rank["present"], rank["absent"])
        rightly, pairs = rightly + right, pairs + both
        print(name, {kind: dict(c) for kind, c in count.items()}, flush=True)
    lines = ["| query | asked | right | wrong | cannot say |", "|---|---|---|---|---|"]
    total: Counter[str] = sum(count.values(), Counter())
    for kind, c in [*count.items(), ("all", total)]:
        lines.append(f"| {kind} | {c.total()} | {c['right']} | {c['wrong']} | {c['cannot say']} |")
    lines += ["", f"A finding that is there is ranked above one that is not in {rightly} of {pairs} pairs of one scan. "
              "The embedded encoder knows no words, and shipped heads claim nothing on real scans: "
              "neither column speaks."]  # fmt: skip
    head = "| scan | words | asked as | answer | why | read as |\n|---|---|---|---|---|---|"
    print("\n".join([head, *failed]))
    if wrong := [row for row in failed if "| wrong |" in row]:
        lines += ["", "Answered wrongly:", "", head, *wrong]
    text = "\n".join(lines) + f"\n\n{stamp('python -m benchmarks.queries')}"
    print(text)
    if options.write_docs:
        write_section(Path(ROOT / "docs" / "encoder.md"), "queries", text)


if __name__ == "__main__":
    main()
