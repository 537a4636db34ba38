"""Which observation is of which truth: side, place, and kinds of one finding.

A truth is found when an observation of the same finding, or of a kind of it (calcium of the aorta is calcium of an
arterial wall), lies on its side and, where it has a place, at its place. What is left over is false, unless it is a
second piece of a truth or a kind of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vlm.findings.vocabulary import load_vocabulary

Row = dict[str, Any]  # JSON
NEAR_MM = 12.0  # a patch seen so near to the truth, or within its size, is it
AGAIN_MM = 10.0  # an observation so near to one made of the untouched scan is the same
PATCHES = ("consolidation", "ground_glass_opacity", "lung_opacity")
# Spread of a tumour is seen as what it is made of, and is no false finding there.
SEEN_AS = {"metastatic_disease": ("lung_nodule", "lung_mass", "liver_lesion", "liver_hypodensity", "bone_lesion")}
HAZY = "ground_glass"  # nodules of pure ground glass have a row of their own: no limit of solid ones is taken from it


def rows_of(case: str, truth: Row, seen: Row, before: Row | None = None) -> list[Row]:
    """Hits, misses and false positives of each tool and finding in one case.

    Args:
        truth: truth.json.
        seen: what the tools saw, as ``read_case`` gives it; ``before`` is the same of the untouched scan.
    """
    rows = []
    person = truth.get("host") or case
    looked = {tuple(pair) for pair in seen["looked"]}
    drawn = [entry for entry in truth["findings"] if entry.get("region")]
    for tool, findings in seen["observes"].items():
        for finding in findings:
            told = _kinds_of(seen, tool, finding)
            if before:
                old = _kinds_of(before, tool, finding)
                told = [each for each in told if not any(_again(each, other) for other in old)]
            new = [each for each in told if each["finding"] == finding]
            named = [entry for entry in drawn if entry["finding"] == finding]
            mine = [entry for entry in named if _is_judged(entry, tool, seen, before)]
            hazy = [entry for entry in mine if finding == "lung_nodule" and HAZY in entry["attributes"]]
            kin = [entry for entry in drawn if _kin(entry["finding"], finding)]
            common = {"case": case, "person": person, "tool": tool, "looked": (tool, finding) in looked}
            solid = [entry for entry in mine if entry not in hazy]
            truths, left = _matched(solid, told)
            faint, left = _matched(hazy, left)
            false = sum(not any(same(each, entry) for entry in kin) for each in left if each["finding"] == finding)
            said = bool(told if mine else new) and bool(mine or not named)
            unjudged = len(named) - len(mine)
            rows.append(
                {**common, "finding": finding, "truths": truths, "false": false, "said": said, "unjudged": unjudged}
            )
            if hazy:
                row = {"truths": faint, "false": 0, "said": any(entry["hit"] for entry in faint)}
                rows.append({**common, "finding": f"{finding}, pure ground glass", **row})
    return rows


def _of(seen: Row, tool: str, finding: str) -> list[Row]:
    return [each for each in seen["observations"] if each["tool"] == tool and each["finding"] == finding]


def _kinds_of(seen: Row, tool: str, finding: str) -> list[Row]:
    """What a tool saw of a finding or of a kind of it: who tells calcium of the aorta tells calcium of an artery."""
    is_a = load_vocabulary().is_a
    return [each for each in seen["observations"] if each["tool"] == tool and is_a(each["finding"], finding)]


def _is_judged(truth: Row, tool: str, seen: Row, before: Row | None) -> bool:
    """Whether a truth says anything of the tool's limit.

    It does not where the tool says itself that it cannot judge, or looks elsewhere; nor where one observation
    tells all there is (a score, a volume of fluid) and the untouched scan has some already.
    """
    finding = truth["finding"]
    if before and not _has_place(truth) and any(_sided(old, truth) for old in _of(before, tool, finding)):
        return False
    searches = [each for each in seen.get("searches", ()) if (each["tool"], each["finding"]) == (tool, finding)]
    searches = [each for each in searches if _sided(each, truth)]
    return not searches or any(each["stands"] and _holds(each, truth) for each in searches)


def _holds(search: Row, truth: Row) -> bool:
    """Whether a search looked where a truth lies."""
    if search["low_mm"] is None:
        return True
    centre = truth["region"]["centroid_mm"]
    return all(low <= at <= high for low, at, high in zip(search["low_mm"], centre, search["high_mm"], strict=True))


def _sided(seen: Row, truth: Row) -> bool:
    return not truth["side"] or seen["side"] in (truth["side"], "bilateral", None)


def _has_place(truth: Row) -> bool:
    return bool(truth["quantity"] == "diameter" or truth["finding"] in PATCHES)


def _kin(one: str, other: str) -> bool:
    """Whether one finding is the other, a kind of it, or what it is seen as."""
    vocabulary = load_vocabulary()
    return other in SEEN_AS.get(one, ()) or one == other or vocabulary.is_a(one, other) or vocabulary.is_a(other, one)


def _matched(truths: Sequence[Row], seen: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Each truth, largest first, with what was seen of it; and what is left over."""
    left, out = list(seen), []
    for truth in sorted(truths, key=lambda entry: -float(entry["value"])):
        match = min(
            (each for each in left if same(each, truth) and _names(each, truth)),
            key=lambda each: _away(each, truth),
            default=None,
        )
        left = [each for each in left if each is not match]
        size = truth.get("graded", {"quantity": truth["quantity"], "value": truth["value"]})
        out.append(
            {
                "quantity": size["quantity"], "size": size["value"], "hit": match is not None,
                "measured": match and match["measured"].get(size["quantity"]),
                "volume": truth["volume_ml"], "volume_measured": match and match["measured"].get("volume"),
                "place_mm": truth["region"]["centroid_mm"],
                "off_mm": _away(match, truth) if match and match["region"] else None,
            }
        )  # fmt: skip
    return out, left


def same(seen: Row, truth: Row) -> bool:
    """Whether an observation is of this truth: side, and place for what has one."""
    if not _sided(seen, truth):
        return False
    if not _has_place(truth):
        return True
    if seen["region"] is None:
        return False
    if truth["quantity"] == "volume":
        reach = NEAR_MM + (truth["value"] * 1000) ** (1 / 3)
    else:
        reach = max(6.0, truth["value"] / 2 + 3)
    box, centre = truth["region"], seen["region"]["centroid_mm"]
    inside = all(low <= at <= high for low, at, high in zip(box["low_mm"], centre, box["high_mm"], strict=True))
    return inside or _away(seen, truth) <= reach


def _names(seen: Row, truth: Row) -> bool:
    """Whether an observation names a truth: by a kind of it, too, but a tumour that is called a cyst is missed."""
    return bool(seen["finding"] == truth["finding"] or truth["quantity"] != "diameter")


def _away(seen: Row, truth: Row) -> float:
    if seen["region"] is None:
        return math.inf
    return math.dist(seen["region"]["centroid_mm"], truth["region"]["centroid_mm"])


def _again(seen: Row, old: Row) -> bool:
    """Whether an observation was made of the untouched scan, too."""
    if seen["region"] is None or old["region"] is None:
        return bool(seen["side"] == old["side"])
    return math.dist(seen["region"]["centroid_mm"], old["region"]["centroid_mm"]) <= AGAIN_MM
