"""From a statement to the claims that the rules judge.

The reader says which findings, places and numbers a text holds. Here each number gets
its kind (a size, a distance to the pleura, a volume, a ratio …) from its unit and the
words beside it, and each mention becomes a Claim with the numbers that belong to it.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Literal

from vlm.evidence import Evidence, Ledger
from vlm.findings.mentions import Mention, Place, Quantity, Reading, Span
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding.places import NO_PLACE
from vlm.grounding.reading import read, with_site_before
from vlm.grounding.verdict import Statement

Kind = Literal["size", "distance", "volume", "attenuation", "fraction", "angle", "ratio", "score", "slice", "bare"]
Bound = Literal["equal", "at_least", "at_most", "up_to"]

REACH = 24  # characters from a distance to the place that it is measured to

# unit of the text -> (kind, factor to the unit of the ledger)
UNIT_KINDS: dict[str, tuple[Kind, float]] = {
    "mm": ("size", 1.0),
    "cm": ("size", 10.0),
    "m": ("size", 1000.0),
    "ml": ("volume", 1.0),
    "l": ("volume", 1000.0),
    "hu": ("attenuation", 1.0),
    "%": ("fraction", 1.0),
    "deg": ("angle", 1.0),
    "degrees": ("angle", 1.0),
}

_UP_TO = re.compile(
    r"\b(up to|as large as|largest|largest of|maximum|maximal|the largest measuring)\s*(of\s+)?(about\s+)?$", re.I
)
_AT_LEAST_BEFORE = re.compile(
    r"(\b(at least|(?:not|no) (?:less|smaller|lower) than|(larger|greater|more|bigger|longer|wider|higher) than"
    r"|(?<!extending )(?<!extends )(?<!extend )over|above|exceeding|from|beyond)|[>≥])"
    r"\s*(about\s+)?$",
    re.I,
)
_AT_MOST_BEFORE = re.compile(
    r"(\b(at most|(less|smaller|shorter|lower|fewer) than|below|under|not exceeding|no more than)|[<≤])\s*(about\s+)?$",
    re.I,
)
_AT_LEAST_AFTER = re.compile(r"^\s*(or|and)\s+(more|larger|greater|above|over|longer|bigger|upwards|up)\b", re.I)
_AT_MOST_AFTER = re.compile(r"^\s*(or|and)\s+(less|smaller|below|under)\b", re.I)
_DISTANCE_AFTER = re.compile(
    r"^\s*(away\s+)?(of(?= the (?:nearest )?(?:pleura|fissure|chest wall))|from|to(?! be\b)|off|beneath|below"
    r"|deep to|under|above)\s+(the|its|a)?\s*\w",
    re.I,
)
_DISTANCE_BEFORE = re.compile(r"\b(distance|away|distant)\b[^,;.]{0,40}$", re.I)
_MEASURED_TO = re.compile(r"\bdistance (?:to|from) (?:the )?(?:nearest )?$", re.I)
_IN_BETWEEN = re.compile(r"\b(?:in|within|at|involving)\b|[,;)]", re.I)
_RATIO = re.compile(r"\bratio\b[^;.]{0,25}$|\bctr\b[^;.]{0,15}$|\bindex\b[^;.]{0,15}$", re.I)
_SCORE = re.compile(r"\b(score|agatston)\b[^;.]{0,25}$", re.I)
_OTHER = re.compile(
    r"\b(remainder|rest of the|for the rest|besides|elsewhere|else|otherwise,? (?:no|nil|none|without|there"
    r"|free|clear|nothing)|further|additional|another|other|no more)\b"
    r"|\bno\b[^.;,]*,? otherwise\b|\botherwise\s*$|^\s*otherwise\b"
    r"|\b(besides|beyond|apart from|aside from|except(?: for)?)(?: (?:this|that|these|those|it|them))?"
    r"(?: the (?:ones?|(?:already )?(?:described|mentioned)))?\s*(?:$|[.;,(])",
    re.I,
)
_JUDGED = (
    r"(?:assess\w*|evaluat\w+|evaluable|judg\w+|look(?:ed)? for|examin\w+|determin\w+|comment(?:ed)? on|answer\w*"
    r"|exclud\w+ or confirm\w+|confirm\w+ or exclud\w+)"
)
_NOT_ASSESSED = re.compile(
    r"\b(?:not|cannot|can ?not|could not|never|un)\s*(?:be |been |yet |fully |reliably |adequately |properly "
    r"|sufficiently |possible to |able to )*"
    rf"{_JUDGED}\b"
    rf"|\b(?:impossible|unable) to {_JUDGED}\b|\bbeyond (?:assessment|evaluation)\b"
    r"|\bneither (?:be )?(?:confirmed|excluded|assessed) nor (?:be )?(?:confirmed|excluded|assessed)\b"
    r"|\b(?:non-?diagnostic|(?:not|un|in) ?(?:diagnostic|suitable|suited|adequate|sufficient)) for\b"
    r"|\bnot (?:allow|permit) (?:an? |any |the )?(?:assessment|evaluation|judgement|statement)\b"
    r"|\b(?:assessment|evaluation|judgement|statement|search)\b[\w -]{0,80}"
    r"\b(?:(?:not|im)\s?(?:possible|feasible)|(?:not|cannot|could not)(?: be)? (?:performed|made|done))\b"
    r"|\bno (?:assessment|evaluation|judgement|statement|comment|conclusion)\b",
    re.I,
)
_MEASURE = r"(?:an? |the )?(?:\w+ )?(?:size|diameter|volume|score|ratio|loss|height|density|\d)"
_LIST_CUTS = re.compile(
    rf",\s|;|\s[/-]\s|\b(?:and|or|nor|with(?! {_MEASURE})|as well as|together with|along with"
    r"|in addition(?: to)?|furthermore|moreover|accompanied by|also|plus|besides|while|but)\b",
    re.I,
)
_CROSSED = re.compile(r"[x×*]|\bby\b", re.I)
_DIGITS = re.compile(r"(?<![A-Za-z0-9])\d+(?:[.,]\d+)?")
_STATES = re.compile(r"\b(is|are|was|were|present|seen|shows?|there|no|with|in)\b", re.I)
_SLICE = re.compile(r"\b(slice|slices|image|images|series)\b[^;.]{0,20}$", re.I)

# Words beside a length that say which length it is -> the quantities that may carry it.
QUALIFIERS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"\bshort[\s-]?(axis|diameter)", re.I), ("short_axis",)),
    (re.compile(r"\b(long[\s-]?(axis|diameter)|longest|largest diameter|greatest)", re.I), ("diameter", "diameter_3d")),
    (re.compile(r"\b(3d|three[\s-]dimension)", re.I), ("diameter_3d",)),
    (re.compile(r"\b(thick|thickness|deep|depth)\b", re.I), ("thickness",)),
    (re.compile(r"\b(height|high|craniocaudal|cranio-caudal|in length|long)\b", re.I), ("height", "diameter_3d")),
    (re.compile(r"\b(wide|width|calibre|caliber|diameter)\b", re.I), ("diameter", "thickness")),
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the text with what it measures. ``value`` is in the text's own unit."""

    value: float
    factor: float  # to the unit of the ledger: 10 for cm
    decimals: int
    kind: Kind
    bound: Bound
    quantities: tuple[str, ...]  # what a word beside it restricts it to; () when none does
    order: int  # place within "17 x 14 mm", from 0
    crossed: bool  # "17 x 14 mm"; False for a range "4-8 mm"
    of: int  # how many numbers stand in that group
    span: tuple[int, int]

    @property
    def in_ledger_unit(self) -> float:
        """The value in mm, ml, HU, % or plain."""
        return self.value * self.factor

    def __str__(self) -> str:
        return f"{self.value:g}"


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing a statement says of one finding."""

    mention: Mention
    numbers: tuple[Number, ...]
    places: tuple[Place, ...]  # of its sentence
    limits: tuple[str, ...]  # limits that its statement states
    text: str  # its sentence

    @property
    def finding(self) -> str:
        """Key of the finding that is claimed."""
        return self.mention.finding

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site that qualifies the finding; what only a distance is measured to is left out."""
        named = self.mention.sites or ((self.mention.site,) if self.mention.site else ())
        far = {place.site for place in self.places if self.is_distance_to(place)}
        vocabulary = load_vocabulary()
        home = vocabulary.findings[self.finding].site if self.finding in vocabulary.findings else None
        # "dilatation of the bronchi", "effusion in the chest": where it always is says nothing of where it is.
        naming = {site for _, sites in vocabulary.findings[self.finding].when for site in sites} if home else set()
        naming = {site for site in naming if not vocabulary.site_contains(str(home), site)}  # "embolism of the lung"
        said = (s for s in named if home is None or not (vocabulary.site_contains(s, home) or s in naming))
        if home == "peritoneum":
            said = (site for site in said if site != "abdominal_cavity")
        if vocabulary.is_a(self.finding, "lymph_node"):
            said = (site for site in said if site not in NO_PLACE)
        return tuple(site for site in said if site not in far)

    def is_distance_to(self, place: Place) -> bool:
        """True when the place is only what a distance is measured to: "6 mm from the pleura"."""
        for number in self.numbers:
            if number.kind != "distance":
                continue
            between = self.text[number.span[1] : place.span[0]]
            if 0 <= place.span[0] - number.span[1] <= REACH and not _IN_BETWEEN.search(between):
                return True
            before = self.text[max(0, place.span[0] - REACH) : place.span[0]]
            if 0 <= number.span[0] - place.span[1] <= REACH and _MEASURED_TO.search(before):
                return True  # "distance to the pleura 28 mm"
        return False


@dataclass(frozen=True, slots=True)
class Parsed:
    """A statement, read once for all rules."""

    statement: Statement
    readings: tuple[Reading, ...]
    claims: tuple[Claim, ...]
    loose: tuple[tuple[Number, Reading], ...]  # numbers that belong to no finding
    limits: tuple[str, ...]  # keys of CONDITIONS that the statement states
    orphans: tuple[str, ...]  # words for findings that became no finding
    cited: dict[str, Evidence]
    missing: tuple[str, ...]  # cited ids that the ledger does not hold

    @property
    def unknown(self) -> tuple[str, ...]:
        """Content words that nothing accounts for."""
        return tuple(word for reading in self.readings for word in reading.unknown)

    @property
    def stray_digits(self) -> tuple[str, ...]:
        """Numbers of the text that the reader gave no meaning: years, codes, anything it took for a date."""
        stray: list[str] = []
        for reading in self.readings:
            spans = [quantity.span for quantity in reading.quantities] + [place.span for place in reading.places]
            stray += [
                match.group()
                for match in _DIGITS.finditer(reading.text)
                if not any(first < match.end() and match.start() < last for first, last in spans)
            ]
        return tuple(stray)

    @property
    def places(self) -> tuple[Place, ...]:
        """Every side and site that the statement names."""
        return tuple(place for reading in self.readings for place in reading.places)

    @property
    def says_something(self) -> bool:
        """True when there is a claim, a place or a number: something that evidence must carry."""
        return bool(self.claims or self.loose or self.places or self.limits)


def parse(statement: Statement, ledger: Ledger) -> Parsed:
    """Read a statement and look up what it cites."""
    readings, limits, orphans = read(statement.text)
    claims: list[Claim] = []
    loose: list[tuple[Number, Reading]] = []
    for reading in readings:
        everything = numbers_of(reading.quantities, reading)
        given = _shared_out(everything, reading)
        for mention, numbers in zip(reading.mentions, given, strict=True):
            mention = _assessed(_in_its_own_part(mention, reading), reading, statement)
            claims.append(Claim(mention, numbers, reading.places, limits, reading.text))
        taken = {number.span for numbers in given for number in numbers}
        loose += [(number, reading) for number in everything if number.span not in taken]
    cited = {name: ledger[name] for name in statement.cites if name in ledger}
    missing = tuple(name for name in statement.cites if name not in ledger)
    return Parsed(statement, readings, tuple(claims), tuple(loose), limits, orphans, cited, missing)


def _in_its_own_part(mention: Mention, reading: Reading) -> Mention:
    """A mention with the side and the sites that are its own where a sentence has several findings.

    Each place belongs to one finding. One without a place of its own takes what stands before all
    ("right X and Y") or, if it is seen, after all ("X and Y in the right lung"); a denial is not
    narrowed by what stands after it. What is dropped here is still checked as a place.
    """
    if len(reading.mentions) < 2:
        return _narrowed(mention, reading)
    own = [p for p in reading.places if _place_owner(p, reading) is mention]
    starts, ends = [m.span[0] for m in reading.mentions], [m.span[1] for m in reading.mentions]
    shared = [p for p in reading.places if p.span[1] <= min(starts)]
    if mention.presence != "absent":
        shared += [p for p in reading.places if p.span[0] >= max(ends)]
    here = [p.site for p in own if p.site and (p.site in mention.sites or _can_hold(p.site, mention.finding))]
    sites = tuple(dict.fromkeys(here))
    if not any(p.site for p in own):
        far = [site for site in mention.sites if any(p.site == site for p in shared)]
        sites = tuple(site for site in far if _can_hold(site, mention.finding))
    sides = {p.side for p in own if p.side} or {p.side for p in shared if p.side == mention.side and p.side}
    side = "bilateral" if len(sides) > 1 else next(iter(sides), None)
    site = mention.site if mention.site in sites else next(iter(sites), None)
    return dataclasses.replace(mention, side=side, sites=sites, site=site)


def _narrowed(mention: Mention, reading: Reading) -> Mention:
    """The only finding of a sentence is also in the narrower place after it: "collapsed lung in the upper zone"."""
    if mention.presence == "absent" or not mention.sites:
        return mention
    holds = load_vocabulary().site_contains
    later = [p.site for p in reading.places if p.site and p.span[0] >= mention.span[1]]
    inner = [s for s in later if s not in mention.sites and any(holds(own, s) for own in mention.sites)]
    return dataclasses.replace(mention, sites=tuple(dict.fromkeys((*mention.sites, *inner)))) if inner else mention


def _place_owner(place: Place, reading: Reading) -> Mention:
    """The finding that a place belongs to: the one it stands just before, else the last one before it."""
    for mention in reading.mentions:
        first, last = with_site_before(mention, reading)
        if first <= place.span[0] < last:
            return mention
    return _owner(place.span, reading)


def _part(at: int, text: str) -> tuple[int, int]:
    """First and one past last character of the part of a list in which a position lies."""
    cuts = [0, *(m.end() for m in _LIST_CUTS.finditer(text)), len(text) + 1]
    return max(cut for cut in cuts if cut <= at), min(cut for cut in cuts if cut > at)


def _shared_out(numbers: tuple[Number, ...], reading: Reading) -> list[tuple[Number, ...]]:
    """The numbers of each mention, in the order of the mentions: the reader's, or each to its owner in a list."""
    if len(reading.mentions) < 2:
        return [numbers_of(mention.quantities, reading) for mention in reading.mentions]
    owners = [(_owner(n.span, reading), n) for n in numbers if n.kind not in ("bare", "slice")]
    return [tuple(n for owner, n in owners if owner is mention) for mention in reading.mentions]


def _owner(span: Span, reading: Reading) -> Mention:
    """The finding that a number belongs to where a sentence has several.

    The one in its own part, the nearest before the nearest after it; without one, the last finding before it.
    """
    first, last = _part(span[0], reading.text)
    own = [m for m in reading.mentions if first <= m.span[0] < last] or list(reading.mentions)
    before = [m for m in own if m.span[1] <= span[0]]
    return max(before, key=lambda m: m.span) if before else min(own, key=lambda m: m.span)


def _can_hold(site: str, finding: str) -> bool:
    """False when a finding cannot lie in a site, such as a pericardial effusion in a coronary artery."""
    vocabulary = load_vocabulary()
    home = vocabulary.findings[finding].site if finding in vocabulary.findings else None
    return home is None or vocabulary.site_contains(home, site) or vocabulary.site_contains(site, home)


def _assessed(mention: Mention, reading: Reading, statement: Statement) -> Mention:
    """What is called not assessable is no claim of presence; under "Not assessed" a bare name is enough."""
    if _OTHER.search(reading.text):
        mention = dataclasses.replace(mention, other=True)
    if _NOT_ASSESSED.search(reading.text):
        return dataclasses.replace(mention, assessed=False)
    if (
        statement.section == "not_assessed"
        and mention.presence != "absent"
        and not mention.quantities
        and not _STATES.search(reading.text)
    ):
        return dataclasses.replace(mention, assessed=False)
    return mention


def numbers_of(quantities: tuple[Quantity, ...], reading: Reading) -> tuple[Number, ...]:
    """Give each quantity of a reading its kind and its bound from the words beside it."""
    groups: dict[int, list[Quantity]] = {}
    for quantity in quantities:
        groups.setdefault(quantity.group, []).append(quantity)
    found = []
    for group in groups.values():
        ordered = sorted(group, key=lambda quantity: quantity.span)
        before = reading.text[: ordered[0].span[0]]
        after = _without_unit(reading.text[ordered[-1].span[1] :])
        between = reading.text[ordered[0].span[1] : ordered[-1].span[0]]
        crossed = bool(_CROSSED.search(between))
        for order, quantity in enumerate(ordered):
            found.append(_number(quantity, reading.text, before, after, order, len(ordered), crossed))
    return tuple(found)


def _number(quantity: Quantity, text: str, before: str, after: str, order: int, of: int, crossed: bool) -> Number:
    kind, factor = UNIT_KINDS.get(quantity.unit.lower(), ("bare", 1.0))
    bound = _bound(before, after)
    near = _near(before, after)
    if kind == "size" and of == 1 and (_DISTANCE_AFTER.search(after) or _DISTANCE_BEFORE.search(before)):
        kind = "distance"
        bound = "equal" if bound == "at_least" and not _AT_LEAST_BEFORE.search(before) else bound
    elif kind == "bare":
        kind = _bare_kind(before)
    named: tuple[str, ...] = ()
    if kind == "size" and of == 1:
        named = next((names for words, names in QUALIFIERS if words.search(near)), ())
    digits = re.search(r"\d+(?:[.,](\d+))?", text[quantity.span[0] : quantity.span[1]])
    decimals = len(digits.group(1) or "") if digits else 0
    return Number(quantity.value, factor, decimals, kind, bound, named, order, crossed, of, quantity.span)


def _bare_kind(before: str) -> Kind:
    if _SLICE.search(before):
        return "slice"
    if _RATIO.search(before):
        return "ratio"
    return "score" if _SCORE.search(before) else "bare"


def _without_unit(after: str) -> str:
    return re.sub(
        r"^\s*(mm|cm|ml|cc|l|hu|%|percent|degrees|deg|millimet\w+|centimet\w+|millilit\w+|lit\w+)\b",
        "",
        after,
        count=1,
        flags=re.I,
    )


def _bound(before: str, after: str) -> Bound:
    tail = before[-40:]
    if _UP_TO.search(tail):
        return "up_to"
    if _AT_LEAST_BEFORE.search(tail) or _AT_LEAST_AFTER.search(after):
        return "at_least"
    if _AT_MOST_BEFORE.search(tail) or _AT_MOST_AFTER.search(after):
        return "at_most"
    return "equal"


def _near(before: str, after: str) -> str:
    """The words of the same clause on both sides of a number, up to the next number."""
    left = re.split(r"[,;()\d]", before[-32:])[-1]
    right = re.split(r"[,;()\d]|\band\b", after[:32])[0]
    return f"{left} | {right}"
