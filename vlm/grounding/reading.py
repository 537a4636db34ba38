"""A text as the rules see it: its sentences read, with limits and words of change taken out first.

"In the covered part", "larger than before" or "6 mm from the pleura" would deny, show or place
findings by themselves. They are blanked out before the reader sees the sentence, so that
offsets stay as they are and the reading speaks of what is claimed, and of nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import NamedTuple

from vlm.findings.lexicon import load_lexicon
from vlm.findings.mentions import Certainty, Mention, Reading, Span
from vlm.findings.reader import read_sentence, split_sentences
from vlm.findings.spelling import tokens_of
from vlm.grounding.changes import split_changes
from vlm.grounding.limits import split_limits
from vlm.grounding.phrasing import plainly

MAX_FREE = 40  # characters from "free" to the fluid or air that it describes
MAX_CHARACTERS = 4000  # a statement is a sentence; what is longer is not read to its end and not believed


# "33 mm wide" says which length, "6 mm from the pleura" what it is measured to: alone they would be findings.
_MEASURED_AS = re.compile(
    r"((?:mm|cm|millimet\w+|centimet\w+))"
    r"(\s+(?:away |distant |distance )?(?:from|to|off|beneath|below|deep to|under) (?:the )?[a-z]+(?: (?:pleura"
    r"|surface|wall|fissure))?"
    r"|\s+(?:wide|thick|deep|high|tall|long|broad|large|across|in (?:size|diameter|width|thickness|height)))\b",
    re.I,
)
# Advice and its guideline: G14 judges them in the whole text, the reader has no use for them.
_ADVISED = re.compile(
    r"\bfleischner(?: society)?(?: guidelines?| criteria| recommendations?)?(?: 2017)?"
    r"|\b\d+(?:\s*(?:-|–|to)\s*\d+)?\s+months?\b"
    r"|\bfollow[- ]?up(?: ct)?\b|\b(?:is |are )?recommended\b",
    re.I,
)
_ADVERB = re.compile(
    r"\b(?:is|are|was|were|be)\s+"
    r"(?:(?P<likely>most likely|likely|probably|presumably)|possibly|perhaps|questionably)\b",
    re.I,
)
# The number of an item of a list, and the writer who speaks of himself as "one": neither counts anything.
_LISTED = re.compile(r"(?:^|(?<=[.;:] ))\s*\d{1,2}[.)](?=\s+[A-Z])|^\s*\(1\)|(?<=[\w,;.)])\s*\(\d\)(?= an? )")
_ONE = re.compile(
    r"\b(?:two|three|four|five) (?=findings:)|\bsome(?= \d)|\bca\.?(?= \d)|\bone(?= (?:can |may )?(?:notes?"
    r"|sees?|finds?|identif(?:y|ies)|observes?|recogni[sz]es?|detects?)\b)",
    re.I,
)
# "calcium score" names a score, "both a nodule and an effusion" no side, "distance to the pleura" no place.
_DASH = re.compile(r" / |(?<!\d) - (?!\d|none|nil|not?\b|absent|negative|cannot|could)")
_SCORED = re.compile(r"\bcalcium(?= scor)", re.I)
_FREE = re.compile(r"free (?:[\w-]+ ){1,2}(?:fluid|air|gas|liquid)\b", re.I)
_PAIRED = (
    r"sides|lungs|lobes|zones|fields|bases|apices|hila|axillae|axillas|kidneys|adrenals|effusions|hemithorac\w+|hemithoraces"
    r"|cavities|spaces|breasts|atria|ventricles|pleurae|ureters|hilar"
)
_OF_SIDES = rf"(?:of (?:the |these )?)?(?:(?!(?:an?|in|of|at|on|with|and) )[\w-]+ ){{0,3}}?(?:{_PAIRED})\b"
_NO_FINDING = re.compile(
    rf"\bboth(?= (?!{_OF_SIDES}).* and )"
    r"|\bwith involvement of(?= (?:about )?\d)|\blocali[sz]ed(?= (?:in|to|within) )|\bhand(?= side)"
    r"|\bpleural(?= distance)|\bdistance (?:to|from) (?:the )?(?:nearest )?pleura(?:l surface)?",
    re.I,
)
_GENERAL = re.compile(
    r"(?:lesion|destruction|density increase|infiltrate|opacity|density|abnormality|infiltration|opacification"
    r"|process|change|disorder)e?s?",
    re.I,
)
_LOOK_BEFORE, _LOOK_AFTER = re.compile(r" |-(?:like|type)? ?"), re.compile(r" (?:of|in) ")
_ELSEWHERE = re.compile(r"\belsewhere\b", re.I)


class Read(NamedTuple):
    """A text, read."""

    readings: tuple[Reading, ...]
    limits: tuple[str, ...]  # keys of CONDITIONS that it states
    orphans: tuple[str, ...]  # words for findings that became no finding


@functools.lru_cache(maxsize=4096)
def read(text: str) -> Read:
    """The sentences of a text as the rules see them; remembered, since drafts are checked again and again."""
    text = plainly(text[:MAX_CHARACTERS])
    for pattern in (_LISTED, _ONE):
        text = pattern.sub(_blank_item, text)
    cut, limits = split_limits(text)
    readings: list[Reading] = []
    orphans: list[str] = []
    for first, last in split_sentences(cut):
        plain, change = split_changes(cut[first:last])
        plain = _MEASURED_AS.sub(lambda match: match.group(1) + " " * len(match.group(2)), plain)
        plain = _DASH.sub(" ; ", plain)
        plain = _SCORED.sub("overall", plain)  # as long, so that offsets stay
        for pattern in (_ELSEWHERE, _NO_FINDING, _ADVISED):
            plain = pattern.sub(lambda match: " " * len(match.group()), plain)
        reading = read_sentence(plain)
        orphans += _orphans(plain, reading)
        reading = _hedged(_one_sense(_merged(reading)))
        mentions = tuple(m if m.change else dataclasses.replace(m, change=change) for m in reading.mentions)
        text_read = _ADVISED.sub(lambda match: " " * len(match.group()), cut[first:last])
        readings.append(dataclasses.replace(reading, text=text_read, mentions=mentions))  # same offsets
    return Read(tuple(readings), limits, tuple(orphans))


def _blank_item(match: re.Match[str]) -> str:
    """The number of an item of a list gives way to what parts it from the item before."""
    inside = match.start() > 0 and match.group().endswith(")") and match.group().lstrip().startswith("(")
    return (";" if inside else " ") + " " * (len(match.group()) - 1)


def _orphans(text: str, reading: Reading) -> list[str]:
    """Words for findings that became no finding where they stand: "effusion of the prostate"."""
    tokens = tokens_of(text)
    spans = [mention.span for mention in reading.mentions]
    found = []
    for item in load_lexicon().items(tokens):
        if any(sense.kind not in ("finding", "sign") for sense in item.senses):
            continue
        if item.has("sign", "height_loss") and any(m.finding == "vertebral_fracture" for m in reading.mentions):
            continue  # how the fracture looks, and no finding beside it
        first, last = tokens[item.first].start, tokens[item.last - 1].end
        if _GENERAL.fullmatch(text[first:last]) and any(
            _LOOK_BEFORE.fullmatch(text[m.span[1] : first]) or _LOOK_AFTER.fullmatch(text[last : m.span[0]])
            for m in reading.mentions
        ):
            continue  # "mass lesion", "ground-glass-like infiltrate", "disorder of atelectasis type"
        if _FREE.match(text, first) and any(first < m.span[0] <= first + MAX_FREE for m in reading.mentions):
            continue  # "free abdominal fluid"
        if not any(a < last and first < b for a, b in spans):
            found.append(text[first:last])
    return found


def _merged(reading: Reading) -> Reading:
    """ "Ground-glass lung nodule" is one nodule, not a nodule beside a ground-glass opacity."""
    kept: list[Mention] = []
    for mention in reading.mentions:
        last = kept[-1] if kept else None
        between = reading.text[last.span[1] : mention.span[0]].strip(" -") if last else "none"
        if last and (last.finding, mention.finding, between) == ("ground_glass_opacity", "lung_nodule", ""):
            kept.pop()
            mention = dataclasses.replace(
                mention,
                attributes=tuple(dict.fromkeys(("ground_glass", *last.attributes, *mention.attributes))),
                grade=mention.grade or last.grade,
                count=mention.count if last.count in (None, 1) else last.count,  # the words of number stand first
                side=mention.side or last.side,
            )
        kept.append(mention)
    return dataclasses.replace(reading, mentions=tuple(kept))


def with_site_before(mention: Mention, reading: Reading) -> Span:
    """The span of a mention with the sites just before it: all of "coronary artery calcification"."""
    first, last = mention.span
    while before := [
        p for p in reading.places if p.span[1] <= first and not reading.text[p.span[1] : first].strip(" -")
    ]:
        first = max(before, key=lambda place: place.span[1]).span[0]
    return first, last


def _one_sense(reading: Reading) -> Reading:
    """A word with its site just before it means nothing else: a coronary calcification is no granuloma."""
    kept = []
    for mention in reading.mentions:
        first, last = with_site_before(mention, reading)
        own = {p.site for p in reading.places if first <= p.span[0] < last and p.site}
        twins = [m for m in reading.mentions if m.span == mention.span]
        if len(twins) == 1 or not own or own & set(mention.sites) or not any(own & set(m.sites) for m in twins):
            kept.append(mention)
    return dataclasses.replace(reading, mentions=tuple(kept))


def _hedged(reading: Reading) -> Reading:
    """An adverb of doubt after the verb holds for what stands before it: "a nodule is probably present"."""
    found = _ADVERB.search(reading.text)
    if found is None:
        return reading
    certainty: Certainty = "likely" if found["likely"] else "possible"
    mentions = (
        dataclasses.replace(m, certainty=certainty) if m.certainty == "definite" and m.presence == "present" else m
        for m in reading.mentions
    )
    return dataclasses.replace(reading, mentions=tuple(mentions))
