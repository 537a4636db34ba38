"""Rows of evidence: what a model is given to word, and the only slots its sentence may hold.

In: a composed draft with the facts that it states. Out: one line of text without a number, such as
``present: lung nodule | solid | in the right upper lobe | size {size} | {distance} from the pleura``, and the way
from its slots back to the ledger's. A model never sees a value, so it cannot type one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from vlm.evidence import QUANTITIES, Ledger, Observation, Search
from vlm.findings.vocabulary import LEVELS, load_vocabulary
from vlm.report import Draft

Style = Literal["structured", "narrative", "short"]
STYLES: tuple[Style, ...] = get_args(Style)
MAIN = ("size", "diameter", "short_axis", "smallest")  # the slot that a short style keeps
SLOT_NAME = re.compile(r"\{([a-z_0-9]+)\}")
LABELS = {  # how a row names a slot; the others by their own name
    "distance": "{} from the pleura", "fraction": "{} of the lung", "thickness": "thickness {}",
    "smallest": "of {} or more", "ratio": "cardiothoracic ratio {}", "score": "Agatston score {}",
    "height_loss": "height loss {}", "short_axis": "short axis {}",
}  # fmt: skip
NOT_SAID = ("name", "list", "count", "grade", "side", "site", "place", "within", "change", "limits", "aside")
WORDS = re.compile(r"[A-Z][0-9]{1,2}|[0-9]{1,2}[RL]")  # names with a digit: levels and stations


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sentence's worth of evidence."""

    kind: str  # of the draft
    finding: str  # key of the first finding
    subject: str  # its name, or the list that is denied
    qualities: tuple[str, ...]  # grade and attributes, as adjectives
    where: str  # "in the right upper lobe", or nothing
    slots: Mapping[str, str]  # name in the row -> the ledger's slots; in the order of the row
    change: str = ""
    limits: str = ""
    aside: str = ""

    @property
    def text(self) -> str:
        """The line that a model reads."""
        upto = "up to " if self.kind == "several" else ""
        told = [upto + LABELS.get(name, f"{name} {{}}").format(f"{{{name}}}") for name in self.slots]
        aside = f"({self.aside})" if self.aside else ""
        parts = [self.subject, *self.qualities, self.where, *told, self.change, self.limits.lstrip(", "), aside]
        return f"{self.kind}: " + " | ".join(part for part in parts if part)

    @property
    def literals(self) -> tuple[str, ...]:
        """Words with digits that the sentence may hold: levels and stations."""
        return tuple(dict.fromkeys(WORDS.findall(f"{self.subject} {self.where}")))

    def filled(self, sentence: str) -> str:
        """The sentence with the ledger's slots in place of the row's.

        Raises:
            KeyError: it holds a slot that the row does not have.
        """
        return SLOT_NAME.sub(lambda slot: self.slots[slot.group(1)], sentence)


def row_of(draft: Draft, ledger: Ledger, style: Style) -> Row | None:
    """The row of a composed draft, without lesser numbers where the style is short; None: it is to stay as it is."""
    if not draft.kind or not draft.cites:
        return None
    record = ledger[draft.cites[0]]
    if not isinstance(record, Observation | Search):
        return None
    facts = draft.facts
    subject = facts.get("list") or load_vocabulary().finding(record.finding).name
    if draft.kind == "several":
        subject = f"{facts.get('count', 'multiple')} further {subject}s"
    measured = {name: facts[name] for name in facts if name not in NOT_SAID and name in (*QUANTITIES, "smallest")}
    return Row(
        kind=draft.kind, finding=record.finding, subject=subject, where=_where(facts, record),
        qualities=tuple(v for k, v in facts.items() if k == "grade" or (k not in NOT_SAID and k not in measured)),
        slots={n: s for n, s in _slots(measured).items() if style != "short" or n in MAIN},
        change=facts.get("change", ""), limits=facts.get("limits", ""),
        aside=facts.get("aside", ""),
    )  # fmt: skip


def _slots(measured: Mapping[str, str]) -> dict[str, str]:
    """Slots by name; two crossed lengths become one, because they are said together."""
    if {"diameter", "short_axis"} <= set(measured):
        rest = {name: slot for name, slot in measured.items() if name not in ("diameter", "short_axis")}
        return {"size": f"{measured['diameter'].replace('}', '#}')} x {measured['short_axis']}"} | rest
    return dict(measured)


def _where(facts: Mapping[str, str], record: Observation | Search) -> str:
    """The place, with its preposition, as far as the draft states it."""
    if "within" in facts:
        return facts["within"]
    if not {"side", "site", "place"} & set(facts):
        return ""
    if record.site in LEVELS:
        return f"at {record.site}"
    if "place" in facts or "site" in facts:
        site = facts.get("place") or " ".join(part for part in (facts.get("side", ""), facts["site"]) if part)
        return f"in {'' if site.startswith('both ') else 'the '}{site}"
    kidney = "kidney" if record.finding == "kidney_stone" else "lung" if record.finding in HALVES else ""
    if facts["side"] == "bilateral":
        return f"in both {kidney}s" if kidney else "on both sides"
    return f"in the {facts['side']} {kidney}" if kidney else f"on the {facts['side']}"


HALVES = frozenset({"mosaic_attenuation", "lung_volume_loss"})  # of a whole lung
