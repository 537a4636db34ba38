"""A reference report of a case whose truth is known, worded as radiologists do, each seed in its own way.

``dictate(truth)`` takes what truth.json holds. The words come from ``prompts/dictation.toml``: they are not the
composer's, and what they say is what was drawn, no more and no less.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from vlm.findings.vocabulary import load_vocabulary

Entry = Mapping[str, Any]  # a finding of truth.json
CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"{(\w+)}")
AMOUNTS = {  # small below, large from, mL; made
    "pleural_effusion": (150, 500), "pneumothorax": (80, 300), "pericardial_effusion": (100, 250),
    "ascites": (200, 800),
}  # fmt: skip
SUMMED = 3  # findings in an impression
DENIALS = 0.6  # chance that a denial that is true is said
SHORT = {"lung_nodule": "nodule"}
LOOKS = ("spiculated", "solid", "part_solid", "ground_glass", "calcified")


@functools.cache
def _phrases() -> Mapping[str, Any]:
    return tomllib.loads((files("prompts") / "dictation.toml").read_text(encoding="utf-8"))


def dictate(truth: Mapping[str, Any], *, seed: int) -> str:
    """The report of a case.

    Args:
        truth: what truth.json holds: ``findings``, ``asked`` (phase, region), and ``changes`` where there is a prior.
    """
    return _Dictation(truth, np.random.default_rng([seed, 37])).text()


class _Dictation:
    """One radiologist with one case."""

    def __init__(self, truth: Mapping[str, Any], rng: np.random.Generator) -> None:
        self.truth, self.rng, self.vocabulary = truth, rng, load_vocabulary()
        self.centimetres = rng.random() < 0.3  # of lengths from 10 mm on
        self.changes: dict[str, Entry] = {each["mask"]: each for each in truth.get("changes", ()) if each["mask"]}

    def text(self) -> str:
        words, asked = _phrases(), self.truth["asked"]
        title = words["title_abdomen" if asked["region"] == "abdomen" else "title"]
        parts = [self.say(title), self.say(words["plain" if asked["phase"] == "plain" else "contrast"])]
        parts.append(self.say(words["comparison" if "changes" in self.truth else "no_comparison"]))
        found = [self.sentence(entry) for entry in self.truth["findings"]]
        order = self.rng.permutation(len(found)) if self.rng.random() < 0.5 else np.arange(len(found))
        body = [found[int(place)] for place in order] + self.resolved() + self.denials()
        end = self.impression(self.truth["findings"])
        lines = [" ".join(parts), "", self.say(words["findings"]), *self.laid_out(body), ""]
        return "\n".join([*lines, self.say(words["impression"]), *end]) + "\n"

    def laid_out(self, sentences: Sequence[str]) -> list[str]:
        """One paragraph, or a sentence a line, with dashes or without."""
        style = int(self.rng.integers(3))
        return [" ".join(sentences)] if style == 0 else [("- " if style == 1 else "") + each for each in sentences]

    def sentence(self, entry: Entry) -> str:
        """One finding, and how it changed."""
        words = _phrases()
        patterns = words["present"].get(entry["finding"], words["general"]["present"])
        if entry["side"]:  # the body of a report says the side, an impression may leave it out
            patterns = [each for each in patterns if "{side}" in each or "{place}" in each] or patterns
        said = self.say(patterns, self.slots(entry))
        change = self.changes.get(entry["mask"])
        if change is None:
            return said
        before = None if change["before"] is None or change["quantity"] != "diameter" else self.length(change["before"])
        return f"{said} {self.say(words['change'][change['change']], {'before': before})}"

    def resolved(self) -> list[str]:
        """What was there before and is gone."""
        out = []
        for change in self.truth.get("changes", ()):
            if change["change"] == "resolved":
                name = SHORT.get(change["finding"], self.vocabulary.finding(change["finding"]).name)
                out.append(self.say(_phrases()["change"]["resolved"], {"side": change["side"] or "", "name": name}))
        return out

    def denials(self) -> list[str]:
        """Some of what is not there. What is there in part, or is a kind of it, is not denied."""
        out = []
        there = {entry["finding"] for entry in self.truth["findings"]}
        there |= {parent for key in there for parent in self.vocabulary.ancestors(key)}
        denied: set[str] = set()
        for group in _phrases()["denied"]:
            keys = set(group["findings"])
            kinds = {key for key in there if any(self.vocabulary.is_a(key, each) for each in keys)}
            covered = self.truth["asked"]["region"] != self._away(keys)
            if covered and not (keys & there or kinds or keys & denied) and self.rng.random() < DENIALS:
                out.append(self.say(group["say"]))
                denied |= keys
        return out

    def _away(self, keys: Collection[str]) -> str:
        """The region in which these findings do not lie."""
        return "chest" if {self.vocabulary.section_of(key) for key in keys} == {"abdomen"} else "abdomen"

    def impression(self, entries: Sequence[Entry]) -> list[str]:
        """The findings once more, the first few, in short."""
        if not entries:
            return [self.say(_phrases()["clear"])]
        words = _phrases()
        said = [
            self.say(
                words["general"]["short"]
                if self.rng.random() < 0.5
                else words["present"].get(entry["finding"], words["general"]["present"]),
                self.slots(entry),
            )
            for entry in entries[:SUMMED]
        ]
        return [f"{number}. {each}" for number, each in enumerate(said, 1)]

    def slots(self, entry: Entry) -> dict[str, str | None]:
        """What is known of a finding, worded; None where it is not."""
        size, volume = entry["value"] if entry["quantity"] == "diameter" else None, entry.get("volume_ml")
        low, high = AMOUNTS.get(entry["finding"], (0, 0))
        amount = None
        if high and volume:
            grade = "small" if volume < low else "moderate" if volume < high else "large"
            amount = self.say(_phrases()["word"][grade]).lower()
        look = " ".join(name.replace("_", "-") for name in LOOKS if name in entry["attributes"])
        side, site = entry["side"], entry["site"] or self.vocabulary.finding(entry["finding"]).site
        named = self.vocabulary.sites.get(site or "")
        place = f"{side} {named.words[0]}" if side and named else None
        return {
            "size": self.length(size) if size else None, "look": look or "",
            "ml": f"{float(f'{volume:.2g}'):g} ml" if volume and entry["quantity"] == "volume" else None,
            "percent": f"{entry['value']:.0f} %" if entry["quantity"] == "fraction" else None,
            "side": side, "place": place, "amount": amount,
            "name": SHORT.get(entry["finding"], self.vocabulary.finding(entry["finding"]).name),
        }  # fmt: skip

    def length(self, mm: float) -> str:
        """A length as it is said: whole millimetres, or centimetres with a digit."""
        return f"{mm / 10:.1f} cm" if self.centimetres and mm >= 10 else f"{mm:.0f} mm"

    def say(self, patterns: Sequence[str], slots: Mapping[str, str | None] | None = None) -> str:
        """One of the patterns that can be filled, filled."""
        known = slots or {}
        for place in self.rng.permutation(len(patterns)):
            text = patterns[int(place)]
            while choice := CHOICE.search(text):
                parts = choice[1].split("|")
                able = [part for part in parts if all(known.get(slot) is not None for slot in SLOT.findall(part))]
                if not able:
                    break
                text = text[: choice.start()] + able[int(self.rng.integers(len(able)))] + text[choice.end() :]
            if not CHOICE.search(text) and all(known.get(slot) is not None for slot in SLOT.findall(text)):
                return _sentence(SLOT.sub(lambda slot: known[slot[1]] or "", text))
        raise ValueError(f"none of {len(patterns)} patterns can be filled: {patterns[0]}")


def _sentence(text: str) -> str:
    """Single spaces, none before a stop, a capital first."""
    text = re.sub(r"\s+([.,:;])", r"\1", re.sub(r"\s+", " ", text)).strip().lstrip(", ")
    text = re.sub(r"\b([Aa]) (?=[aeiou]|8|11 |18 )", lambda article: f"{article[1]}n ", text)
    return text[:1].upper() + text[1:]
