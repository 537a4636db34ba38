"""Findings that no tool can judge yet, so that a report says "not assessed" and never "no X".

In: the vocabulary, the registered tools, contrast and coverage of a Case. Out: a Search with nothing
covered for every finding that no tool observes, with the truest reason.
"""

from __future__ import annotations

from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.evidence import Case, Evidence, Search
from vlm.findings.vocabulary import Vocabulary, load_vocabulary
from vlm.tools.registry import TOOLS, load_tools, tool

NAME = "unseen"
# What enhanced blood or organs are needed for: without contrast that is the reason, tool or no tool.
NEEDS_CONTRAST = frozenset({
    "pulmonary_embolism", "aortic_dissection", "thrombosis", "liver_lesion", "renal_lesion", "renal_hypodensity",
    "splenic_lesion", "pancreatic_lesion", "metastatic_disease", "submucosal_edema",
})  # fmt: skip

ASKED_FOR = frozenset({"thrombosis", "metastatic_disease"})  # wider than what stands below them


@tool(NAME, observes=())
def unseen(case: Case) -> list[Evidence]:
    """Say for every finding without a tool that it was not assessed, and why."""
    load_tools()
    observed = {finding for each in TOOLS.values() for finding in each.observes}
    vocabulary = load_vocabulary()
    out: list[Evidence] = []
    for key, finding in sorted(vocabulary.findings.items()):
        if key in observed or (key not in ASKED_FOR and _generic(key, observed, vocabulary)):
            continue
        reasons = (_reason(case, key, finding.site, vocabulary),)
        out.append(Search(tool=NAME, finding=key, covered=0.0, site=finding.site, failed=reasons))
    return out


def _generic(key: str, observed: set[str], vocabulary: Vocabulary) -> bool:
    """A parent of other findings is no finding by itself; what stands below it is said."""
    return any(key in vocabulary.ancestors(other) and other != key for other in vocabulary.findings) or any(
        key in vocabulary.ancestors(other) and key != other for other in observed if other in vocabulary.findings
    )


def _reason(case: Case, key: str, site: str | None, vocabulary: Vocabulary) -> str:
    """The key of CONDITIONS that is the truest reason why a finding was not assessed."""
    shares = coverage(case).shares
    if site is not None:
        known = [name for name in (site, *sorted(vocabulary.containers(site))) if name in shares]
        if known and shares[known[0]] <= 0.0:
            return "not_covered"
    if key in NEEDS_CONTRAST and contrast(case).enhanced is not True:
        return "no_contrast"
    return "not_implemented"
