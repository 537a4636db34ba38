"""The checker: every sentence against the ledger, by rules that are each right by reading."""

from vlm.grounding.check import RULES, Rule, check, explain, omissions, repetitions
from vlm.grounding.verdict import PASSES, Context, Prior, Statement, Verdict

__all__ = [
    "PASSES", "RULES", "Context", "Prior", "Rule", "Statement", "Verdict",
    "check", "explain", "omissions", "repetitions",
]  # fmt: skip
