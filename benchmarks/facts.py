"""A fact in words: pick a wording, fill it, and get a sentence that says exactly that fact."""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks.scenes import Fact
from benchmarks.wordings import Wording
from vlm.findings.vocabulary import LEVELS, load_vocabulary

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
GRADE_WORDS = {"micro": "tiny", "marked": "marked"}
ATTRIBUTE_WORDS = {"part_solid": "part-solid", "ground_glass": "ground-glass"}
MASS_NOUNS = frozenset(
    {
        "consolidation",
        "atelectasis",
        "emphysema",
        "bronchiectasis",
        "cardiomegaly",
        "coronary_artery_calcification",
        "aortic_calcification",
        "ascites",
        "pneumoperitoneum",
        "splenomegaly",
    }
)
ON_A_SIDE = frozenset({"pleural_effusion", "pneumothorax", "kidney_stone"})  # the side alone places them


def say(fact: Fact, wording: Wording, rng: random.Random) -> str:
    """One sentence that states the fact, in one of the wordings."""
    slots = _slots(fact, wording, rng)
    return _tidy(_template(fact, wording, rng, slots).format(**slots))


def say_both(one: Fact, other: Fact, wording: Wording, rng: random.Random) -> str:
    """One sentence that states two facts."""
    slots, second = _slots(one, wording, rng), _slots(other, wording, rng)
    slots |= {"b": second["a"], "place2": second["place"], "size2": second["size"]}
    return _tidy(rng.choice(wording.pair).format(**slots))


def say_none(facts: Sequence[Fact], wording: Wording, rng: random.Random) -> str:
    """One sentence that denies several findings."""
    items = [_slots(fact, wording, rng)["name"] for fact in facts]
    items = [f"{fact.side} {item}" if fact.side else item for fact, item in zip(facts, items, strict=True)]
    return _tidy(rng.choice(wording.none_of).format(list=f"{', '.join(items[:-1])} or {items[-1]}"))


def _slots(fact: Fact, wording: Wording, rng: random.Random) -> dict[str, str]:
    name, names = rng.choice(wording.names.get(fact.finding, (("abnormality", "abnormalities"),)))
    if fact.strange:
        name, names = f"{fact.strange} {name}", f"{fact.strange} {names}"
    a = _subject(fact, name, names, wording, rng)
    reason = wording.reasons.get(fact.limits[0], ("",)) if fact.limits else ("",)
    return {
        "name": name,
        "names": names,
        "Name": _upper(name),
        "Names": _upper(names),
        "a": a[0].lower() + a[1:],
        "A": _upper(a),
        "is": "are" if _is_plural(fact) else "is",
        "place": _place(fact, wording, rng),
        "size": "".join(rng.choice(getattr(wording, how)).format(n=text) for how, text in fact.numbers),
        "least": rng.choice(wording.least).format(n=fact.least) if fact.least else "",
        "limit": "".join(rng.choice(wording.limits[limit]) for limit in fact.limits if limit in wording.limits),
        "reason": rng.choice(reason),
    }


def _template(fact: Fact, wording: Wording, rng: random.Random, slots: dict[str, str]) -> str:
    if fact.kind == "absent":
        fitting = [t for t in wording.absent if not fact.least or "{least}" in t]
        return rng.choice(fitting)
    if fact.kind == "other":
        return rng.choice([t for t in wording.other if not fact.least or "{least}" in t])
    if fact.kind == "not_assessed":
        return rng.choice(wording.not_assessed)
    if fact.kind == "coverage":
        slots["place"] = (fact.site or "").replace("_", " ")
        slots["Place"] = _upper(slots["place"])
        return rng.choice(wording.not_covered if fact.covered == 0.0 else wording.partly_covered)
    if fact.kind == "measured":
        slots |= {"structure": (fact.site or "").replace("_", " "), "size": fact.numbers[0][1]}
        slots["Structure"] = _upper(slots["structure"])
        return rng.choice(wording.measured)
    if fact.kind == "not_enlarged":
        slots["ratio"] = fact.numbers[0][1]
        return rng.choice(wording.not_enlarged)
    if fact.certainty != "definite":
        return rng.choice(wording.likely if fact.certainty == "likely" else wording.possible)
    template = rng.choice(wording.present)
    if fact.change:
        return template.rstrip(".") + rng.choice(wording.change[fact.change]) + "."
    return template


def _subject(fact: Fact, name: str, names: str, wording: Wording, rng: random.Random) -> str:
    words = [_grade(fact.grade, wording, rng)] if fact.grade else []
    if fact.attribute:
        words.append(ATTRIBUTE_WORDS.get(fact.attribute, fact.attribute))
    plural = _is_plural(fact)
    phrase = " ".join([*words, names if plural else name])
    if isinstance(fact.count, str):
        return f"{rng.choice(wording.few if fact.count == 'few' else wording.multiple)} {phrase}"
    if isinstance(fact.count, int) and fact.count > 1:
        return f"{NUMBERS[fact.count]} {phrase}"
    if fact.finding in MASS_NOUNS or fact.count is None:
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _grade(grade: str, wording: Wording, rng: random.Random) -> str:
    return rng.choice(wording.grades.get(grade, (GRADE_WORDS.get(grade, grade),)))


def _is_plural(fact: Fact) -> bool:
    return isinstance(fact.count, str) or (isinstance(fact.count, int) and fact.count > 1)


def _place(fact: Fact, wording: Wording, rng: random.Random) -> str:
    """in the right upper lobe,  on the left,  of T8, or nothing."""
    if fact.site in LEVELS:
        return rng.choice(wording.at_level).format(where=fact.site)
    site = (fact.site or "").replace("_", " ")
    if fact.finding in ON_A_SIDE and not fact.site:
        return _on_side(fact, wording, rng) if fact.side in ("left", "right") else ""
    if not site and fact.side in ("left", "right"):
        home = load_vocabulary().findings[fact.finding].site if fact.finding else None
        if home is None:
            return _on_side(fact, wording, rng)
        site = home.replace("_", " ")
    if not site:
        return ""
    if fact.side == "bilateral":
        plural = f"{site[:-1]}ae" if site == "axilla" else f"{site}s"
        return rng.choice(wording.both).format(wheres=plural)
    where = f"{fact.side} {site}" if fact.side else site
    short = wording.where.get(f"{fact.side} {fact.site}", (where,))
    return rng.choice(wording.inside).format(where=rng.choice(short))


def _on_side(fact: Fact, wording: Wording, rng: random.Random) -> str:
    where = rng.choice(wording.where.get(str(fact.side), (str(fact.side),)))
    return rng.choice(wording.on_side).format(where=where)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tidy(text: str) -> str:
    """No comma before a stop, no comma twice."""
    for bad, good in ((" ,", ","), (",.", "."), (",,", ","), (",;", ";"), (", (", " ("), (" .", ".")):
        text = text.replace(bad, good)
    return text
