"""Parts of a sentence that only set a limit or state a change: "(thick sections)", ", bearing in mind the noise", ", growing".

A part between commas, brackets or colons, or the end of one that begins with "given", "despite" … , states a
limit when it names its cause and every other word of it is one of the closed class of words that limits are
made of. One word outside of that class, a number or a denial too many, and it is read as text. No order of
words is asked for, so that no list of phrases is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vlm.findings.mentions import Change

_SPLIT = re.compile(r"[,;:()\[\]]|\s[-–—/]\s|(?<=\w)\.(?=\s|$)|[!?]")
_WORD = re.compile(r"[a-z']+|\S", re.I)

# Words that limits are made of beside their cause. None denies, doubts, places or names a finding.
_GLUE = frozenset(
    """
    a an the this that these those it its there here is are was were be been being has have had and or but while which although
    though albeit even as far so of by for from to in on at with within under over into because due owing given despite spite
    notwithstanding bearing mind allowing accounting taking into account considering considered view recognising recognizing
    acknowledging subject limit limits limited limiting limitation limitations restricted restricts restricting restriction
    hampered hampers hampering impaired impairs impairing degraded degrades degrading degradation obscured obscures obscuring
    obscuration hidden hides hiding masked masks masking reduced reduces reducing compromised compromises compromising
    hindered hinders hindering affected affects affecting confounded confounds confounding lowers lowered lowering suboptimal
    assessment evaluation evaluability assessability sensitivity interpretation visualisation visualization visibility quality
    detection detectability conspicuity diagnostic detail resolution accuracy confidence certainty exam examination study scan
    ct image images imaging technique series data dataset acquisition same purpose slightly somewhat moderately markedly severely
    considerably significantly strongly partly partially some much marked severe considerable high strong extensive great
    excessive too very only just mere constraint constraints confines bounds setting context presence caveat caveats
    noting noted mind bit bits lot through under reserve reservation may might could hide obscure findings lesions if aside excepted except
    there present though unfortunately we i know also still it's happens bearing's recognised recognized
    permits permit permitted allows allow allowed possible our current present same such type level amount degree
    """.split()  # noqa: SIM905  # a hundred words read better as text
)
# A limit at the end of a part, without a mark before it, begins with one of these.
_LEADS = frozenset(
    """
    given due because owing despite considering bearing allowing accounting taking notwithstanding within outside excluding
    hide hides hiding obscure obscures excepted noting recognising recognizing acknowledging through under except apart aside bit sensitivity
    limited restricted hampered hindered impaired degraded obscured hidden masked reduced compromised confounded although though
    albeit evaluation assessment sensitivity assessability subject as with on in under at
    """.split()  # noqa: SIM905
)
_WEAK = frozenset(("with", "on", "in", "under", "at"))  # these lead to findings and places, too
_SCANNED = re.compile(r"fields?|volume|ranges?|region|extent|coverage", re.I)


@dataclass(frozen=True, slots=True)
class _Cause:
    """What makes a limit: every one of ``needs`` occurs; ``may`` are words that are allowed beside them."""

    needs: tuple[re.Pattern[str], ...]
    may: re.Pattern[str] | None = None
    led: bool = True  # may stand at the end of a part behind a leading word
    weak: bool = True  # "with", "in", "on" lead to it


def _re(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w'])(?:{pattern})(?![\w'])", re.I)


_DENIED = r"(?:(?:has|have|was|is|are|were|could|can|being|having) ?)?(?:not|cannot|can't|no|without|lack of|lacking|lack|absence of|absent|missing|want of|never)"
_PIECE = r"(?:parts?|bits?|area|portions?|sections?|areas?|ranges?|extent|volume|segments?|fields?|slices|images|coverage|what|region)"
_REACHED = (
    r"(?:covered|scanned|imaged|included|captured|visuali[sz]ed|visible|examined|shown|depicted|acquired|obtained|provided|explored|studied|carried out"
    r"|available|seen|displayed|encompassed|taken|recorded|reached)"
)
_NOT_WHOLLY = (
    r"(?:partly|partially|partial|incompletely|incomplete|in part|in sections|limited|not (?:fully|completely|entirely|wholly)"
    r"|insufficiently|only)"
)
CAUSES: dict[str, _Cause] = {
    "noise": _Cause(
        (_re(r"nois[ey]|noisy|noisiness|grain(?:y|iness)|mottle"),), _re("image|quantum|pixel|photon|starvation")
    ),
    "thick_slices": _Cause(
        (_re(r"slices?|sections?|cuts?|slabs?"), _re(r"thick\w*|coarse|large|wide|spacing")),
        _re(r"broad|reconstructions?|reformats?|reconstructed|collimation|width"),
    ),
    "metal": _Cause(
        (_re(r"metal(?:lic|work)?|streaks?|streaking|beam[- ]?hardening|hardware|implants?"),),
        _re(
            r"art[ei]facts?|artefactual|beam|hardening|caused|produced|prosthes[ie]s|related|adjacent|hardware|implants?"
        ),
    ),
    "collapse": _Cause(
        (
            _re(r"collapsed|consolidated|atelectatic|airless"),
            _re(r"lungs?|lobes?|parts?|areas?|segments?|parenchyma|portions?|sections?"),
        ),
        _re(
            r"outside|excluding|except|excepted|excluded|apart|aside|cannot be (?:assessed|judged|evaluated)|lung|not assessed"
        ),
        weak=False,
    ),
    "no_contrast": _Cause(
        (
            _re(
                rf"{_DENIED}.{{0,24}}contrast|contrast.{{0,32}}{_DENIED}|{_DENIED}.{{0,24}}injection|non-? ?injected|non-? ?con|unenhanced|un-?enhanced|non-?enhanced|native|non-? ?contrast|plain|contrast-?less|(?:needs?|requires?|would (?:need|require)) .{{0,12}}contrast"
            ),
        ),
        _re(
            rf"{_DENIED}|contrast|intravenous|iv|medium|media|material|agent|enhancement|enhanced|administration|administered|given|used|applied"
            r"|injected|injection|received|non-? ?con|board|of|on|plain|native|unenhanced|non|noncontrast|nonenhanced|needs?|requires?|would|need|require|any|applying|use"
        ),
    ),
    "partly_covered": _Cause(
        (
            _re(
                rf"{_REACHED}.{{0,20}}{_PIECE}|{_PIECE}.{{0,20}}{_REACHED}|{_NOT_WHOLLY}.{{0,20}}(?:{_REACHED}|coverage|field of view)|(?:{_REACHED}|coverage|field of view).{{0,16}}{_NOT_WHOLLY}|as far as (?:\w+ ){{0,2}}{_REACHED}|(?:where|insofar as|to the extent|in so far as) (?:\w+ ){{0,2}}{_REACHED}"
            ),
        ),
        _re(
            rf"{_REACHED}|{_PIECE}|{_NOT_WHOLLY}|far|where|insofar|section area|region|extent|what|fully|completely|entirely|wholly|not|field|outwith"
        ),
        weak=True,
    ),
    "not_measured": _Cause(
        (
            _re(
                r"sensitivity|detection (?:limit|threshold)|limits? of detection|thresholds? of detection|smallest detectable size|detectability|detection performance|minimum detectable size|lower limit of detection"
            ),
            _re(
                r"(?:not|never|yet to be|no) (?:\w+ ){0,2}(?:know|known|measured|evaluated|verified|established|determined|available|clear|validated|tested|quantified|assessed|defined|specified|certain|characteri[sz]ed|ascertained|documented|stated)|un(?:known|measured|clear|certain|determined|defined|quantified|specified|available|tested|validated|established)|undetermined|indeterminate"
            ),
        ),
        _re(
            r"tool's|limit|limits|threshold|smallest|detectable|size|performance|not|never|yet|do|does|could|be|know|known|measured|evaluated|verified|established|determined|available|clear|validated|tested|quantified|assessed|defined|un\w+|undetermined|indeterminate|remains?|minimum|lower"
        ),
        led=False,
    ),
    "not_implemented": _Cause(
        (
            _re(
                r"tools?|software|algorithms?|methods?|modules?|search|detectors?|implementation|implemented|analysis|automation|measurement"
            ),
            _re(rf"{_DENIED}|do not have|nothing|unavailable|lacking|unimplemented|unsupported|missing|none|yet to be"),
        ),
        _re(
            rf"{_DENIED}|looks?|looked|looking|search(?:es|ed)?|exists?|existing|available|unavailable|yet|automatic|automated|suitable|dedicated|corresponding|appropriate|supported|supports?|provided|implemented|any|purpose|task|does|do|did|none|one|question|covers?|them|by|nothing|assesses|foreseen|for it|have|that|this|task|currently|built|offered|present|in place|running"
        ),
        led=False,
    ),
    "not_found": _Cause(
        (
            _re(r"structures?|organs?|anatomy|vessels?|target|landmarks?"),
            _re(
                rf"(?:{_DENIED}|never|nowhere) .{{0,30}}(?:found|identified|identifiable|located|locali[sz]ed|visible|visuali[sz]ed|seen|made out|recogni[sz]ed|recogni[sz]able|delineated|delineable|detectable|detected|demonstrated|discerned|discernible|traced|segmented|distinguished|selected|observed|find|available|individuali[sz]ed|depicted|shown|outlined|determined)|unseen|unidentified|unidentifiable|missing|lost|not available|untraceable|unrecogni[sz]able"
            ),
        ),
        _re(
            rf"{_DENIED}|found|identified|identifiable|located|locali[sz]ed|visible|visuali[sz]ed|seen|made|out|recogni[sz]ed|recogni[sz]able|delineated|delineable|detectable|detected|demonstrated|discerned|discernible|traced|segmented|distinguished|selected|observed|find|individuali[sz]ed|un\w+|missing|lost|available|reliably|itself|question|region|could|can|relevant|depicted|shown|outlined"
        ),
        led=False,
    ),
    "side_unsure": _Cause(
        (
            _re(r"sides?|laterality|left and right|left right|orientation|side assignment"),
            _re(
                rf"{_DENIED} .{{0,30}}(?:confirmed|certain|sure|verified|established|known|assured|told apart|validated|checked|determined)|un(?:confirmed|certain|sure|verified|clear|known)"
            ),
        ),
        _re(
            rf"{_DENIED}|left|right|confirmed|certain|sure|verified|established|known|told|apart|un\w+|remains?|assignment|could|yet|validated|checked|determined"
        ),
        led=False,
    ),
}
_ORDER = (
    "not_measured",
    "not_implemented",
    "not_found",
    "side_unsure",
    "no_contrast",
    "thick_slices",
    "noise",
    "metal",
    "collapse",
    "partly_covered",
)


def split_adjuncts(text: str) -> tuple[str, tuple[str, ...]]:
    """The text with every part that only states a limit blanked out, and the keys of those limits."""
    found: list[str] = []
    for first, last, mark in parts(text):
        for limit in _ORDER:
            span = _limit_within(text[first:last], limit, marked=bool(mark), bracketed=mark in "(:;[")
            if span is not None:
                found.append(limit)
                start, end = first + span[0], first + span[1]
                text = text[:start] + " " * (end - start) + text[end:]
                break
    return text, tuple(found)


def parts(text: str) -> Iterator[tuple[int, int, str]]:
    """First and one past last character of every part between marks, and the mark before it; "" at a sentence's start."""
    begin, before = 0, ""
    for mark in (*_SPLIT.finditer(text), None):
        end = mark.start() if mark else len(text)
        if text[begin:end].strip():
            yield begin, end, before
        if mark:
            begin, before = mark.end(), mark.group().strip().strip(".!?")


def _limit_within(part: str, limit: str, *, marked: bool, bracketed: bool) -> tuple[int, int] | None:
    cause = CAUSES[limit]
    if not all(needed.search(part) for needed in cause.needs):
        return None
    accounted = _accounted(part, cause)
    words = list(_WORD.finditer(part))
    good = [accounted[w.start()] or w.group().lower() in _GLUE for w in words]
    if marked and all(good) and (limit != "collapse" or bracketed or any(w.group().lower() in _LEADS for w in words)):
        return 0, len(part)  # "emphysema, collapsed lung or nodules": an item of a list is no limit
    if not cause.led:
        return None
    return _led(words, good, cause, accounted)


def _accounted(part: str, cause: _Cause) -> list[bool]:
    """Which characters the cause itself accounts for; a pattern with any word between its own accounts for none."""
    taken = [False] * (len(part) + 1)
    closed = (pattern for pattern in cause.needs if ".{" not in pattern.pattern and r"\w+ )" not in pattern.pattern)
    for pattern in (*closed, *((cause.may,) if cause.may else ())):
        for match in pattern.finditer(part):
            taken[match.start() : match.end()] = [True] * (match.end() - match.start())
    return taken


def _led(words: list[re.Match[str]], good: list[bool], cause: _Cause, accounted: list[bool]) -> tuple[int, int] | None:
    """The end of a part that begins with a leading word and holds nothing but a limit."""
    begin = len(words)
    while begin and good[begin - 1]:
        begin -= 1
    for n in range(begin, len(words)):
        word = words[n].group().lower()
        if word in _LEADS or (word == "outside" or word == "excluding"):
            if word in _WEAK and not (cause.weak and not _SCANNED.search(words[-1].group())):
                continue  # "not in the scanned field" is said of the scan
            rest = words[n:]
            tail = " ".join(w.group() for w in rest)
            if all(needed.search(tail) for needed in cause.needs):
                return rest[0].start(), rest[-1].end()
    return None


# ---------------------------------------------------------------- change
_MORE = _re(
    r"larger|bigger|greater|enlarged|enlarging|enlargement|increas(?:ed?|es|ing)|grown|grows?|growing|growth|progress(?:ed|ion|ive|ing|es)?|size-progressive"
    r"|expand(?:ed|ing)|expansion|worse|worsen(?:ed|ing)?|advanc(?:ed|ing)|thicker|longer|wider|more (?:extensive|prominent|pronounced|marked)|augmented"
)
_LESS = _re(
    r"smaller|decreas(?:ed?|es|ing)|reduc(?:ed|tion|ing)|regress(?:ed|ion|ive|ing|es)?|size-regressive|shrunk(?:en)?|shrink(?:ing|s|age)?|diminish(?:ed|ing)?"
    r"|declin(?:ed|e|ing)|involut(?:ed|ion)|thinner|shorter|less (?:extensive|prominent|pronounced|marked)|lessened|improv(?:ed|ement|ing)"
)
_SAME = _re(
    r"unchanged|no different|without modification|unmodified|unaltered|unvarying|stable|static|constant|stationary|idem|identical|similar|equal|comparable|the same|same|as before|status quo"
    r"|(?:not|no|without)(?: (?:any|significant|significantly|relevant|relevantly|appreciable|appreciably|substantial|interval|obvious|definite|notable|material|materially|demonstrable|meaningful))*"
    r" (?:change|changed|changes|difference|alteration|altered)|steady|stability"
)
_FRESH = _re(
    r"new|newly|novel|appeared(?= since)|of recent appearance|recent appearance|emerged|de novo|recent(?:ly)? developed|(?:not|never|absent|unseen)(?: (?:yet|been|previously))*(?: (?:seen|present|visible|there|detected|known|identified|demonstrated|shown|evident|described|reported|noted|apparent|existing|observed))?"
    r"(?= .*(?:before|prior|previous|previously|earlier|last|former))"
)
_THEN = _re(
    r"(?:(?:ct|last|earlier|former|old|prior|previous|preceding|preliminary|comparison|outside|initial|baseline|reference) )*"
    r"(?:scan|ct|exam|examination|study|series|imaging|images|time|investigation|control|comparison|film)s?|before|beforehand|previously|prior|previous|earlier|interval|last|baseline|comparison"
)
_CHANGE_GLUE = frozenset(
    """
    a an the this that which it is are was were be been being has have had having and of by for from to in on at with over
    since than as compared comparison when relative versus against during now currently still yet interval clearly slightly
    markedly significantly somewhat mildly moderately minimally considerably obviously distinctly much size extent volume
    number length width diameter dimension dimensions calibre appearance remains remain remained remaining become became
    appeared appearing developed occurred arisen emerged arising seen present visible there detected identified found finding
    noted known showing shows shown demonstrating suggestive features unaltered again overall in terms most recent our present
    current study scan examination time got its according respect representing having dimensionally volumetrically finding
    """.split()  # noqa: SIM905
)
_DIRECTIONS: tuple[tuple[Change, re.Pattern[str]], ...] = (
    ("unchanged", _SAME),
    ("new", _FRESH),
    ("larger", _MORE),
    ("smaller", _LESS),
)


def split_change_parts(text: str) -> tuple[str, list[Change]]:
    """The text without the parts that only state a change, and those changes; one that denies a change otherwise stays."""
    found: list[Change] = []
    for first, last, mark in parts(text):
        change = _change_of(text[first:last]) if mark else None
        if change is not None:
            found.append(change)
            text = text[:first] + " " * (last - first) + text[last:]
    return text, found


def _change_of(part: str) -> Change | None:
    taken = [False] * (len(part) + 1)
    kinds: list[Change] = []
    for change, pattern in _DIRECTIONS:
        for match in pattern.finditer(part):
            if not taken[match.start()]:
                kinds.append(change)
                taken[match.start() : match.end()] = [True] * (match.end() - match.start())
    for match in _THEN.finditer(part):
        taken[match.start() : match.end()] = [True] * (match.end() - match.start())
    words = _WORD.finditer(part)
    if len(set(kinds)) != 1 or not all(taken[w.start()] or w.group().lower() in _CHANGE_GLUE for w in words):
        return None
    return kinds[0]
