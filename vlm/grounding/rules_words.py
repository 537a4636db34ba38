"""Rules on the words and the ids of a statement: G0, G1 and G14."""

from __future__ import annotations

import re

from vlm.evidence import Evidence, Observation, Search
from vlm.grounding.changes import split_changes
from vlm.grounding.claims import Parsed
from vlm.grounding.fleischner import licence
from vlm.grounding.phrasing import plainly
from vlm.grounding.reading import MAX_CHARACTERS
from vlm.grounding.verdict import NEUTRAL_SECTIONS, Verdict
from vlm.grounding.world import World

COPIED_WORDS = 8  # a run of so many words shared with a retrieved report is copied

_MONTHS = (
    "jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?"
    "|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?|dec(ember)?"
)
_DATE = re.compile(
    r"\b(\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|(19|20)\d{6}"  # 03.11.2021, 2021-11-03, 20211103
    rf"|\d{{1,2}}(st|nd|rd|th)?\s+({_MONTHS})\b\.?(\s+\d{{2,4}})?|({_MONTHS})\.?\s+\d{{1,4}}"
    r"|(in|of|from|since)\s+(19|20)\d\d(?!\s*(?:ml|mm|cm|l|cc|hu|%|millil|cubic)))\b",
    re.I,
)
_TIME = re.compile(
    r"\b(yesterday|today(?!'s (?:exam|scan|study|ct|imaging))|tomorrow|\d+\s+(days?|weeks?|months?"
    r"|years?)\s+(ago|earlier|before|prior))\b",
    re.I,
)
_PERSON = re.compile(
    r"\b(mr|mrs|ms|dr|prof)\b\.?\s+\w|\b\d{1,3}[\s-]*(year|yr|y)s?[\s-]*(old|o)\b|\b(patient|subject) (name|id)\b", re.I
)
_HISTORY = re.compile(
    r"\b(history of|(?<!not )(?<!yet )known|status post|s/p|previously|formerly|past medical|operated (on|for|in)"
    r"|underwent|treated (for|with)"
    r"|under treatment|complain\w*|presents? with|referred|admitted|smok(er|ing)|his|her|family)\b",
    re.I,
)
_UNSURE = re.compile(r"\b(uncertain|unclear|questionable|doubtful|unsure) (whether|if)\b", re.I)
_ADVICE = re.compile(
    r"\b(\d+\s+(days?|weeks?|months?|years?)"
    r"|recommend\w*|suggest(ed|ing)? (a |an )?(follow|control|further|biops|correlat|clinical)\w*|advis\w+|should"
    r"|follow[\s-]?up|biops\w+|correlat\w+|further (evaluation|work[\s-]?up|imaging|investigation)|consider\w*"
    r"|control (ct|scan|imaging)|referral|surveillance|re-?examin\w+|repeat (ct|scan|imaging)|pet([\s/-]?ct)?"
    r"|mri|ultrasound|consult\w*|urgent\w*|immediate\w*|treat(ment|ed)? with|needs? treatment)\b",
    re.I,
)


def vocabulary_known(parsed: Parsed, _: World) -> Verdict | None:
    """G0: every content word is accounted for by the vocabulary or by the function words of reports."""
    if len(parsed.statement.text) > MAX_CHARACTERS:
        return Verdict("unsupported", "G0", f"longer than {MAX_CHARACTERS} characters")
    if parsed.unknown:
        shown = ", ".join(repr(word[:40]) for word in parsed.unknown[:5])
        return Verdict("unsupported", "G0", f"nothing accounts for {shown}")
    claimed = not parsed.claims or any(claim.mention.assessed for claim in parsed.claims)
    if parsed.orphans and claimed and parsed.statement.section not in NEUTRAL_SECTIONS:
        return Verdict(
            "unsupported", "G0", f"{parsed.orphans[0]!r} is no finding that can be checked as it stands here"
        )
    return None


def digits_are_read(parsed: Parsed, _: World) -> Verdict | None:
    """G5: no number of the text is left without a meaning."""
    if parsed.stray_digits:
        return Verdict("contradicted", "G5", f"nothing accounts for the number {parsed.stray_digits[0][:20]}")
    return None


# Words that say more than the finding they are read as: a cause, a kind, a tissue. Evidence must say them, too.
_NARROWER = re.compile(
    r"\b(\w*carcinom\w*|cancer\w*|malignan\w*|neoplas\w*|tumou?r\w*|\w*adenoma\w*|lymphoma\w*|\w*sarcoma\w*"
    r"|metasta\w*|\w*blastom\w*"
    r"|thymoma|teratoma|lipoma|\w*myoma\w*|fibroids?|h[a]?emangioma\w*|abscess\w*|empyema|h[a]?emo\w+"
    r"|h[a]?ematoma\w*|infarct\w*"
    r"|hydropneumo\w*|tension|bull(a|ae|ous)|blebs?|centri\w+|paraseptal|pan(lobular|acinar)|lytic|sclerotic"
    r"|blastic|granulom\w*"
    r"|covid\w*|corona(virus)?|viral|bacterial|fungal|aspiration|organi[sz]ing|interstitial|tubercul\w*|hydatid"
    r"|pneumatoc\w*|micronod\w*"
    r"|honeycomb\w*|traction|linear|band\w*|subsegmental|plate\w*|disco?id|round(ed)?(?! lesion| focus| foci"
    r"| nodule)|compressive|passive|obstructive"
    r"|tamponade|pathologic\w*(?! enlarged| size)"
    r"|osteopor\w*|cardiomyopath\w*|colitis|enteritis|diverticulitis|pyelonephritis|ipmn|cirrho\w*"
    r"|ascending|saccular|fusiform|mycotic|ruptur\w*|leak\w*|bleed\w*|perforat\w*|strangulat\w*|incarcerat\w*"
    r"|acute|chronic|old"
    r"|congestion|hypertension|stenosis|pneumonic|infect\w*|inflammat\w*|benign|suspicious|aggressive|simple"
    r"|complicated|complex)\b",
    re.I,
)


_DOUBT = re.compile(
    r"\b(might|may|perhaps|maybe|possibl[ey]|possibility|probabl[ey]|presum\w+|suspect(ed)?|suspicion|questionable"
    r"|uncertain|equivocal|doubtful|dubious|conceivabl[ey]|cannot be (ruled out|excluded)|not (excluded"
    r"|ruled out))\b|\?",
    re.I,
)
_LIMITING = re.compile(
    r"\b(nois[ey]|noisy|native|unenhanced|non-?contrast|art[ei]facts?|slice thickness|thick slices"
    r"|slices (are )?(too )?thick"
    r"|sensitivity|detection limit|limit of detection|coverage|field of view|metal|injected|injection"
    r"|without (\w+ )*contrast"
    r"|no (\w+ )?contrast)\b",
    re.I,
)


def limits_are_read(parsed: Parsed, _: World) -> Verdict | None:
    """G9: words of a limit that were read as none are not passed over: nobody checked that the scan has it."""
    if not any(claim.mention.assessed for claim in parsed.claims):
        return None
    for reading in parsed.readings:
        if found := _LIMITING.search(reading.text):
            return Verdict("unsupported", "G9", f"{found.group(0)!r} is no limit that can be checked as it stands")
    return None


def doubt_is_read(parsed: Parsed, _: World) -> Verdict | None:
    """G8: a word of doubt holds for a finding of its sentence; one that the reader gave to none is not passed over."""
    for reading in parsed.readings:
        claims = [claim for claim in parsed.claims if claim.text == reading.text]
        held = any(
            c.mention.hedged or c.mention.certainty != "definite" or c.mention.presence == "uncertain" for c in claims
        )
        if claims and not held and all(c.mention.assessed for c in claims) and (found := _DOUBT.search(reading.text)):
            return Verdict("unsupported", "G8", f"{found.group(0)!r} is said of nothing that can be checked")
    return None


_HOW_IT_LOOKS = re.compile(
    r"acute|chronic|old|round(?:ed)?|linear|band\w*|plate\w*|simple|complicated|complex|benign|suspicious|aggressive"
)
_LAST_WORD = re.compile(r"[\w-]+ $")


def no_narrower_word(parsed: Parsed, world: World) -> Verdict | None:
    """G2: "carcinoma" for a mass or "empyema" for an effusion say more than was measured."""
    allowed = [parsed_name for record in parsed.cited.values() for parsed_name in _own_words(record, world)]
    for claim in parsed.claims:
        before = _LAST_WORD.search(claim.text[: claim.mention.span[0]])
        spoken = f"{before.group() if before else ''}{claim.mention.text} {' '.join(claim.mention.attributes)}"
        for found in _NARROWER.finditer(spoken.replace("_", " ")):
            word = found.group().lower()
            if claim.mention.presence == "absent" and _HOW_IT_LOOKS.fullmatch(word):
                continue  # where there is none, there is none of that kind either
            if not any(word in own for own in allowed):
                return Verdict(
                    "unsupported", "G2", f"{word!r} says more than {', '.join(parsed.cited) or 'no evidence'}"
                )
    return None


def _own_words(record: Evidence, world: World) -> list[str]:
    if not isinstance(record, Observation | Search):
        return [record.site.replace("_", " ")]
    entry = world.vocabulary.findings.get(record.finding)
    words = [record.finding.replace("_", " "), entry.name.lower() if entry else ""]
    return [*words, *(value.lower() for value in record.attributes.values()), *(k.lower() for k in record.attributes)]


def cites_exist(parsed: Parsed, _: World) -> Verdict | None:
    """G1: every cited id is in the ledger, and there is one where something is claimed."""
    if parsed.missing:
        return Verdict("unsupported", "G1", f"{', '.join(parsed.missing)} is not in the ledger")
    if parsed.cited or (parsed.statement.section in NEUTRAL_SECTIONS and not parsed.claims):
        return None
    if parsed.says_something:
        return Verdict("unsupported", "G1", "nothing is cited")
    return None


def nothing_forbidden(parsed: Parsed, world: World) -> Verdict | None:
    """G14: no identity, date, history, unlicensed advice, or run of words from a retrieved report."""
    text = parsed.statement.text
    told = split_changes(text)[0]  # "larger than previously" is no history: G10 judges it
    folded = _words(text)
    for secret in world.context.identity:
        if _words(secret) and f" {' '.join(_words(secret))} " in f" {' '.join(folded)} ":
            return Verdict("unsupported", "G14", "holds an identity or a date of the scan's tags")
    for pattern, what in ((_DATE, "a date"), (_TIME, "a time"), (_PERSON, "a person"), (_HISTORY, "a history")):
        if found := pattern.search(told if pattern is _HISTORY else text):
            return Verdict("unsupported", "G14", f"holds {what} that no evidence gives: {found.group(0)[:40]!r}")
    for claim in parsed.claims:
        open_question = not claim.mention.assessed or (claim.mention.presence == "uncertain" and _UNSURE.search(text))
        asked = claim.mention.status == "hypothetical" and open_question
        if claim.mention.status != "current" and not asked:
            status = claim.mention.status.replace("_", " ")
            return Verdict(
                "unsupported", "G14", f"{claim.mention.text!r} is {status}; evidence speaks of this scan only"
            )
    if (found := _ADVICE.search(plainly(text))) and (refused := licence(parsed, world)) is not None:
        return Verdict("unsupported", "G14", f"advice {found.group(0)[:40]!r}: {refused}")
    for other in world.context.retrieved:
        if run := _shared_run(folded, _words(other)):
            return Verdict(
                "unsupported", "G14", f"copies {COPIED_WORDS} words of a retrieved report: {' '.join(run)[:60]!r}"
            )
    return None


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _shared_run(words: list[str], other: list[str]) -> tuple[str, ...] | None:
    runs = {tuple(other[i : i + COPIED_WORDS]) for i in range(len(other) - COPIED_WORDS + 1)}
    own = (tuple(words[i : i + COPIED_WORDS]) for i in range(len(words) - COPIED_WORDS + 1))
    return next((run for run in own if run in runs), None)
