"""One way of saying a thing for its many: abbreviations written out, and frames of doubt and denial made plain.

Reporters say "not seen" and "not judged" in hundreds of ways that are built from few kinds of words.
Here a frame is a pattern over whole classes of words ("not" + any adverb + any verb of judging), and
its match gives way to the one wording that the reader knows: "not assessed", "possible", "likely", "no".
What is found, where, how large and on which side is never touched. This comes before limits and changes
are looked for, so that lengths may change; nothing before it has offsets.
"""

from __future__ import annotations

import functools
import re

from vlm.findings.vocabulary import load_vocabulary

# ---------------------------------------------------------------- classes of words
_JUDGE = (
    r"(?:(?:assess|evaluat|judg|examin|determin|analy[sz]|interpret|apprais|characteri[sz]|diagnos|answer|address|verif"
    r"|ascertain|decid|resolv|quantif|investigat|explor|inspect|gaug|clarif|interrogat|opin|adjudicat|scrutini[sz]"
    r"|estimat|elucidat|settl|survey|query|queri|appreciat|explor|studi|study|conclud|tell)\w*"
    r"|(?:look|search|screen|test|check|probe|hunt)(?:ed|ing)? for|comment(?:ed)?(?: (?:up)?on)?|remark(?:ed)? (?:up)?on"
    r"|(?:state|say|said|speak|spoken|pronounce|conclude)(?: anything)?(?: (?:of|about|on|to|regarding))?)"
)
_JUDGEMENT = (
    r"(?:assessment|evaluation|judge?ment|statement|opinion|comment|conclusion|determination|analysis|interpretation"
    r"|appraisal|search|verdict|assertion|remark|inference|diagnosis|examination|detection|verification|exclusion"
    r"|investigation|clarification|analysis|estimate|estimation|characteri[sz]ation|answer|decision|study|exploration|appraisement|assessability|evaluability)"
)
_OF = (
    r"(?:of|for|on|upon|about|regarding|concerning|as to|with regard to|with respect to|in respect of|to detect"
    r"|as regards|with reference to|in terms of|into)"
)
_ADVERBS = r"(?:(?:\w+ly|well|yet|been|be|to be|further|very|at all|here|now|with certainty|with confidence) )*"
_NOT = (
    r"(?:(?:(?:is|are|was|were|has|have|had|can|could|do|does|did|will|would|may|should) )?not"
    r"|cannot|can't|couldn't|isn't|aren't|wasn't|weren't|hasn't|haven't|doesn't|didn't|never)"
)
_UNABLE = (
    r"(?:(?:(?:it|this|i|we) )?(?:is |am |are |was |were |will (?:not be able|be unable) to |not be able to )?(?:unable|impossible|infeasible|incapable|not possible"
    r"|not feasible|not able|inability|will not be able|won't be able) (?:to|of)(?: be)?|could not manage to)"
)
_BE = r"(?:(?:is|are|was|were|has been|have been|had to be|must be|remains?|stays?|seems?|appears?|being|be) )?"
_EXCLUDE = r"(?:exclude|eliminate|rule out|dismiss|discount|discard|refute|disprove|negate|deny)"
_EXCLUDED = (
    r"(?:excluded|eliminated|ruled out|dismissed|discounted|discarded|refuted|disproved|disproven|negated|denied)"
)
_CONFIRMED = r"(?:confirm(?:ed)?|establish(?:ed)?|affirm(?:ed)?|verif(?:y|ied)|prove[dn]?|ruled? in|diagnosed?)"
_EITHER = rf"(?:{_EXCLUDED}|{_EXCLUDE}|{_CONFIRMED})"
_STOP = r"(?=\s*(?:[.,;:()?]|$))"
_STUDY = (
    r"(?:study|scan|exam(?:ination)?|ct|imaging|images?|technique|protocol|data ?set|acquisition|investigation|quality"
    r"|series)"
)
_SEEMS = r"(?:(?:constellation|combination|sum) of findings|findings?|aspects?|features?|appearances?|images?|imaging|picture|pattern|signs?)"
_PRECLUDED = (
    r"(?:impossible|infeasible|precluded|prevented|prohibited|withheld|deferred|omitted|waived|forgone|pending|lacking"
    r"|outstanding|abandoned|unavailable|unfeasible|impracticable|not (?:\w+ly )?(?:possible|feasible|undertaken"
    r"|performed|done|made|attempted|carried out|offered|given|provided|available|permitted|allowed|practicable|meaningful"
    r"|reliable)"
    r"|(?:cannot|could not|can not) (?:\w+ly )?be (?:\w+ly )?(?:made|given|offered|provided|performed|done|undertaken"
    r"|carried out|reached|drawn|obtained|achieved|accomplished|rendered|provided|established)|(?:remains?|left|is|stays?) (?:open|unanswered"
    r"|unresolved))"
)
_DIFFICULT = r"(?:(?:is|would be|may be|it is|it would be) )?(?:very |quite )?(?:difficult|hard|impossible) to"
_PERHAPS = (
    r"(?:equivocal|inconclusive|ambiguous|indeterminate|uncertain|doubtful|dubious|questionable|suspicious|worrisome"
    r"|concerning|suspect|tentative|unsure|unclear|not certain|not sure|unproven|not proven|suggested but not (?:proven|certain|confirmed))"
)
_SUSPICION = r"(?:possibility|question|suspicion|concern|chance|doubt|uncertainty)"
_LIKELIHOOD = r"(?:likelihood|probability|plausibility)"
_THOUGHT = r"(?:thought|felt|believed|deemed|presumed|assumed|reckoned|surmised)"
_EVIDENCE = (
    r"(?:evidence|arguments?|signs?|proof|hints?|indications?|suggestions?|traces?|features?|detection|demonstration|references?"
    r"|appearances?|findings?|stigmata|manifestations?|semblance|clues?|correlates?|pointers?|visuali[sz]ation"
    r"|depiction|presence|delineation|changes)"
)
_SHOW = r"(?:suggest|indicate|support|favou?r|show|reveal|demonstrate|disclose|depict|contain|display|exhibit|evidence)"
_PLAINLY_SEEN = (
    r"(?:appreciable|discrete|gross|identifiable|overt|convincing|definite|definitive|clear(?:-cut)?|frank|discernible"
    r"|measurable|visible|detectable|demonstrable|perceptible|recogni[sz]able|conspicuous|relevant|obvious|evident"
    r"|apparent|unequivocal|unambiguous|manifest|noticeable|distinct|reliable|certain|sure|suspicious|delineable|verifiable"
    r"|demonstrated|noteworthy|notable|concrete|tangible|plain|abnormal)"
)
_IMAGED = r"(?:radiological|radiologic|radiographic|tomographic|imaging|ct|morphological|morphologic|scan|further)"

# ---------------------------------------------------------------- frames, in the order in which they are sought
Frame = tuple[re.Pattern[str], str]


def _frame(pattern: str, plain: str) -> Frame:
    return re.compile(rf"(?<![\w'])(?:{pattern})(?![\w'])", re.I), plain


_NOT_ASSESSED: tuple[Frame, ...] = (
    _frame(
        r"nothing (?:\w+ )?(?:can|could|may) be (?:said|stated|concluded|inferred) (?:about|on|of|regarding|as to)"
        r"|the question of (?P<middle>[^.;:()]{2,60}?) (?:(?:remains?|is|stays?|is left) (?:\w+ly )?(?:open|unanswered|unresolved|unsettled)"
        r"|cannot be (?:answered|settled|resolved|decided))",
        r"\g<middle> not assessed",
    ),
    _frame(
        rf"(?:{_STUDY}) (?:cannot|can not|could not) (?:be used to|serve to|be relied on to) {_JUDGE}", "not assessed"
    ),
    _frame(
        rf"(?:{_NOT} {_ADVERBS}|(?:can|could|may) (?:be )?neither (?:be )?|neither {_ADVERBS})(?:be )?{_EITHER}"
        rf" (?:or|nor)(?: be)? {_EITHER}",
        "not assessed",
    ),
    _frame(
        rf"(?P<head>(?:(?:a|an|the|any|clear|optimal|full|formal|reliable|adequate|proper|definite|confident) )*{_JUDGEMENT}(?:s)? {_OF} )"
        rf"(?P<middle>[^.;:()]{{2,80}}?)[ ,]+{_BE}{_PRECLUDED}(?: (?:on|from|with|by) (?:this|the) {_STUDY})?",
        r"\g<middle> not assessed",
    ),
    _frame(
        rf"(?P<middle>[^.;:()]{{2,60}}?):? {_BE}(?:deferred|withheld|unassessed|unevaluated|undetermined|unaddressed"
        rf"|not (?:accessible|amenable|open)(?: (?:to|for) {_JUDGEMENT})?|unassessable|unevaluable|indeterminable)"
        rf"{_STOP}",
        r"\g<middle> not assessed",
    ),
    _frame(
        rf"(?:(?:the|this|our|present|current) )*{_STUDY} (?:quality )?(?:precludes?|prevents?|prohibits?|forbids?"
        rf"|{_NOT} (?:\w+ly )?(?:allow|permit|enable|support|suffice for|lend itself to))"
        rf" (?:(?:an?|the|any|meaningful|reliable|adequate|proper) )*{_JUDGEMENT} {_OF}",
        "not assessed",
    ),
    _frame(
        rf"(?:(?:non-?diagnostic|inadequate|insufficient|suboptimal|unsuitable|unsuited|ill[- ]suited|inappropriate"
        rf"|not (?:\w+ly )?(?:diagnostic|suitable|suited|tailored|designed|optimi[sz]ed|adequate|sufficient|sensitive"
        rf"|intended|appropriate|dedicated|protocolled|protocoled|fit|meant))"
        rf" (?:to|for)(?: (?:the|an?|any|reliable))*(?: (?:(?!\w+ed\b){_JUDGE}|{_JUDGEMENT}))?(?: {_OF})?)",
        "not assessed",
    ),
    _frame(
        rf"(?:only )?(?:insufficiently|inadequately|inconclusively|barely|hardly|scarcely|poorly) {_JUDGE}",
        "not assessed",
    ),
    _frame(rf"(?<=:) ?(?:unknown|undetermined|unclear){_STOP}", "not assessed"),
    _frame(rf"(?:suboptimal|non-?diagnostic) {_JUDGEMENT} {_OF}", "not assessed"),
    _frame(
        rf"no (?:(?:\w+ly|reliable|definite|firm|valid|safe|certain|conclusive|meaningful|confident|further) )*"
        rf"{_JUDGEMENT}s? (?:(?:is |was |can be )?(?:possible|made|offered|given) )?"
        rf"(?:on|upon|about|regarding|concerning|as to|with regard to|with respect to)",
        "not assessed",
    ),
    _frame(
        rf"(?:(?:presence|absence|status) (?:or (?:absence|presence) )?of )(?P<middle>[^.;:()]{{2,60}}?) (?:(?:is|remains) (?:indeterminate|undetermined|unknown)|{_NOT} (?:be )?{_JUDGE})",
        r"\g<middle> not assessed",
    ),
    _frame(
        rf"(?:this |it )?is not (?:the|an? (?:good|right|suitable|appropriate)) (?:test|study|scan|examination|technique|method) (?:for|to {_JUDGE})",
        "not assessed",
    ),
    _frame(rf"(?:not optimal|not ideal|non-?contributive(?: {_STUDY})?|not contributory) for", "not assessed"),
    _frame(rf"(?:is|lies|falls) outside the {_JUDGEMENT}", "not assessed"),
    _frame(
        rf"cannot (?:tell|say|speak to|conclude on|pronounce on|determine whether|know whether)(?: there is)?",
        "not assessed",
    ),
    _frame(rf"{_UNABLE} {_ADVERBS}{_JUDGE}(?: (?:for|on|of|upon))?", "not assessed"),
    _frame(
        rf"(?:escapes?|evades?|eludes?|defies|resists?|is beyond) (?:any |an? |our |the )*{_JUDGEMENT}", "not assessed"
    ),
    _frame(
        rf"(?:lies? |is |are |falls? )?(?:beyond|outside|outwith) (?:the )?(?:scope|reach|capabilit(?:y|ies)|remit|ability"
        rf"|competence) of (?:the|this) (?:{_STUDY}|tool|software|method)",
        "not assessed",
    ),
    _frame(rf"{_NOT} {_ADVERBS}(?:{_JUDGE})(?: for)?", "not assessed"),
)

_DOUBT: tuple[Frame, ...] = (
    _frame(rf"(?:{_NOT} {_ADVERBS}|not to be |yet to be |remains? to be ){_EXCLUDED}", "is possible"),
    _frame(rf"(?:{_NOT} {_ADVERBS}|{_DIFFICULT} |{_UNABLE} ){_EXCLUDE}{_STOP}", "is possible"),
    _frame(rf"(?:(?:i|we|one) )?(?:{_NOT} {_ADVERBS}|{_DIFFICULT} |{_UNABLE} ){_EXCLUDE}", "possible"),
    _frame(
        r"(?:is|are|remains?|would be|seems) (?:the |our )?(?:leading|main|prime|primary|first|foremost|favou?red|preferred"
        r"|top|most likely|likeliest) (?:consideration|diagnosis|possibility|differential|explanation|interpretation)",
        "is likely",
    ),
    _frame(
        rf"(?<!there )(?<!it )(?:is|are|remains?|would be|could be|may be|seems?) (?:an? |the |one |within the realm of )*"
        rf"(?:\w+ )?(?:{_SUSPICION}|consideration|differential|differential diagnosis|concern)",
        "is possible",
    ),
    _frame(
        r"(?:comes? into (?:question|consideration)|is (?:thinkable|conceivable|imaginable|debatable|arguable|plausible"
        r"|suspect|in question|in doubt|open to question|on the cards))",
        "is possible",
    ),
    _frame(
        r"(?:is |are )?(?:may |might |can |could |should |to )be (?:considered|entertained|suspected|discussed|evoked)(?: in the differential(?: diagnosis)?)?",
        "is possible",
    ),
    _frame(
        r"(?:merits?|deserves?|warrants?) (?:consideration|discussion)|(?:is |are )?in the differential(?: diagnosis)?",
        "is possible",
    ),
    _frame(
        r"(?:i|we|one) (?:would )?wonders? (?:about|if there is|whether there is)|to evoke:?|low-? ?confidence",
        "possible",
    ),
    _frame(
        rf"(?:, )?(?:but )?(?:without certainty|(?:but|though|although) (?:this is )?{_PERHAPS}|{_PERHAPS})(?=\s*[.]?$)",
        ", possible",
    ),
    _frame(
        r"(?:it )?(?:is|remains) (?:unclear|uncertain|doubtful|questionable|unsure|open) (?:whether|if) there (?:is|are)",
        "possible",
    ),
    _frame(
        r"the (?:presence|existence) of (?P<middle>[^.;:]{2,80}?) (?:is|remains) (?:uncertain|doubtful|unclear|questionable|equivocal|possible)",
        r"possible \g<middle>",
    ),
    _frame(
        r"(?:was|is|were|are|has been) (?:primarily |mainly |first |mostly |strongly )?(?:considered|favou?red)(?: (?:as )?in the first plan)?(?=\s*[.,;]|$)",
        "is likely",
    ),
    _frame(
        r"(?:it is )?considered as (?P<middle>[^.;:]{2,120}?) in the first (?:plan|place|line)", r"likely \g<middle>"
    ),
    _frame(
        r"(?:looks?|appears?) (?:most |rather )?like|best explained by|(?:aspects?|appearances?) (?:strongly |highly )?(?:evocative of|evoking|in favou?r of)|to be attributed in all probability to",
        "likely",
    ),
    _frame(
        r"(?:i|we) (?:would |will |should )?(?:strongly )?favou?r|this (?:will|would|should) be(?= [^.]*(?:likely|probably))",
        "likely",
    ),
    _frame(
        r"(?:may|might|could|can) (?:well |also |possibly |conceivably |perhaps )?(?:represent|reflect|be due to|indicate"
        r"|correspond to|relate to|signify|constitute|suggest)",
        "possible",
    ),
    _frame(
        rf"(?:(?:{_SEEMS}|this|these|it) )?(?:raises?|raising|prompts?|arouses?) (?:the |an? |some )?{_SUSPICION} (?:of|for|about)",
        "possible",
    ),
    _frame(rf"(?:is|are|remains?|seems?|appears?|stays?) {_PERHAPS}{_STOP}", "is possible"),
    _frame(rf"(?:{_SEEMS} )?(?:(?:is|are) )?{_PERHAPS} (?:for|of|about|regarding|as to)", "possible"),
    _frame(
        rf"(?:(?:there|it) (?:is|remains) )?(?:(?:an?|the|some|slight|low|reasonable|residual) )*{_SUSPICION}"
        r" (?:of|about|regarding|as to|for|over)(?: whether there is)?(?: being)?",
        "possible",
    ),
    _frame(
        r"(?:may|might|could) (?:well |also |possibly |conceivably |perhaps )?(?:be (?:present|there|seen|lying|located)|exist|lie)",
        "is possible",
    ),
    _frame(
        r"(?:query|queries|querying|differential diagnosis(?: includes?| of|:)?|differential includes?)", "possible"
    ),
    _frame(r"it is (?P<how>possible|likely|probable|conceivable|plausible) that there (?:is|are|may be)", r"\g<how>"),
    _frame(
        rf"(?:in all|with (?:an? )?(?:high|great|good|considerable|reasonable)|high|great) {_LIKELIHOOD},?(?: of)?",
        "likely",
    ),
    _frame(
        rf"(?P<what>possible) (?P<middle>[^;:]{{2,160}}?) (?:is|as|seems) (?:very )?(?:high|likely|strong)",
        r"likely \g<middle>",
    ),
    _frame(
        rf"(?:is|are|was|were) {_THOUGHT}(?: to be)? (?:likely|probable)|(?:is|are) (?:felt|thought|believed|deemed) to be"
        r" (?:likely|probable)|(?:is|are|is to be|must be|has to be) (?:assumed|presumed|inferred|surmised)",
        "is likely",
    ),
    _frame(
        rf"(?:the )?{_SEEMS} (?:most |more |rather |highly |strongly |best )*(?:speaks? for|points? to(?:wards?)?|corresponds? to"
        r"|argues? for|evokes?|fits?(?: with)?|match(?:es)?|(?:are|is) (?:most |highly |strongly |quite |best )*(?:typical|in line|in keeping"
        r"|compatible|consistent|concordant|suggestive|indicative|characteristic|explained)(?: of| with| by)?"
        r"|favou?rs?|likely (?:represents?|reflects?|indicates?|suggests?|corresponds? to|to represent)|suggests?)",
        "likely",
    ),
    _frame(r"(?:highly|very|quite|more|rather|most) (?P<how>likely|probable|probably)(?: than not)?", r"\g<how>"),
    _frame(
        r"(?<=[\w,)%] )(?P<how>probably|possibly|likely) (?:exists?|is there|occurs?|is present|are present|present)",
        r"is \g<how>",
    ),
)

_DENIAL: tuple[Frame, ...] = (
    _frame(
        r"(?:is |are )?(?:unremarkable|normal|negative|neg\.?|clear|blank|free) (?:with respect to|with regard to|regarding"
        r"|as regards|in terms of|as to|with reference to|in respect of|as far as)",
        "no",
    ),
    _frame(
        rf"no (?:(?:{_PLAINLY_SEEN}|{_IMAGED}) )*{_EVIDENCE} (?:of|for|to suggest|to indicate|suggesting|suggestive of|to"
        rf"|indicating|indicative of|in favou?r of|pointing to|in keeping with|supporting)(?: (?:any|an?))?",
        "no",
    ),
    _frame(
        rf"(?:(?:the|these|this|our|present|current) )*(?:{_SEEMS}|{_STUDY}) (?:do|does|did) not (?:\w+ly )?{_SHOW}(?: any| an?)?",
        "no",
    ),
    _frame(
        r"(?:exclusion|non-? ?visuali[sz]ation|non-? ?detection|absence|lack|want|non-?demonstration) of(?: any| an?)?",
        "no",
    ),
    _frame(
        r"(?:is|are|was|were) not (?:an? feature|features|in evidence|part of the picture|on show|to be seen|there)",
        "is not seen",
    ),
    _frame(
        rf"(?:(?:careful|close|detailed) )*(?:review|search|inspection|{_STUDY}) (?:fails|failed) to (?:{_SHOW}|find|identify|detect)(?: any| an?)?",
        "no",
    ),
    _frame(r"nothing else (?:by|in the) way of", "no other"),
    _frame(
        r"not seeing(?: any| an?)?|(?:i|we|one) (?:have|has|had) not (?:found|seen|identified|detected)(?: any| an?)?|not any(?= [a-z])",
        "no",
    ),
    _frame(r"no (?:second|third|more|extra)(?= [a-z])", "no other"),
    _frame(
        r"for the rest,?|(?:apart|aside) from the (?:above|aforementioned),?|other than (?:the above|that|this),?|outside of (?:this|that|these),?",
        "otherwise",
    ),
    _frame(r"(?:nil by way of|nothing by way of|nothing in the way of|zero|nought|nil)(?= [a-z])", "no"),
    _frame(rf"no (?:{_PLAINLY_SEEN} )+(?=[a-z])", "no "),
)
_LISTED: tuple[Frame, ...] = (
    _frame(  # the participle at the end of a denied list opens no clause of its own
        r"(?P<list>there (?:is|are|was|were) no [^.;:()]+?) (?:to be )?(?:seen|identified|noted|found|shown|visible|detected"
        r"|demonstrated|made out|observed|appreciated|present|visuali[sz]ed|recogni[sz]ed|discerned|in evidence|evident|on show)(?= *(?:[.;,(]|$))",
        r"\g<list>",
    ),
    _frame(
        r"(?<=\w )(?:of note|of significance|in situ|worthy of (?:note|mention)|that i can see|that can be seen|in short(?= *(?:[.;,(]|$)))",
        "",
    ),
    _frame(r"(?:patch(?:es)?|pockets?|bands?|islands?|elements?|components?|degrees?) of(?= [a-z])", ""),
    _frame(
        r"(?:the )?(?:principal|main|key|salient|leading|major|chief|most relevant|most important|dominant|sole|only|other|further)"
        r" (?:abnormal )?(?:abnormality|finding|observation|lesion)s? (?:is|are)(?= (?:an? )?\w)",
        "there is",
    ),
    _frame(r"today's(?= \w)", "the"),
    _frame(
        r"(?:the )?(?:remainder|rest)(?: of the [\w ]{2,30}?)? (?:is|are|shows?|appears?) (?:without|no|free of|clear of)",
        "no other",
    ),
    _frame(r"beyond (?:this|these|that|those),?", "otherwise"),
)
_FRAMES = (*_LISTED, *_NOT_ASSESSED, *_DOUBT, *_DENIAL)

# ---------------------------------------------------------------- signs that stand for words
_SIGNS: tuple[Frame, ...] = (
    (re.compile(r"\bcan['’]t\b|\bcan not\b", re.I), "cannot"),
    (re.compile(r"\bwon['’]t\b", re.I), "will not"),
    (re.compile(r"(?<=[a-z])n['’]t\b", re.I), " not"),
    (re.compile(r"\b(?P<who>there|here|that|what|it|this)['’]s\b", re.I), r"\g<who> is"),
    (re.compile(r"\b(?P<who>we|i|they)['’]ve\b", re.I), r"\g<who> have"),
    (re.compile(r"\b(?P<who>we|i)['’]d\b", re.I), r"\g<who> would"),
    (re.compile(r"\b(?P<who>this|that|it)['’]ll\b", re.I), r"\g<who> will"),
    (re.compile(r"^\s*\?\s*(?=\w)"), "possible "),
    (re.compile(r"\s*\(\s*\?\s*\)"), ", possible"),
    (re.compile(r"\s*\(\s*[-–]\s*\)"), ": none"),
    (re.compile(r"\s*\(\s*\+\s*\)"), ""),
    (re.compile(r"^\s*\+\s*(?=\w)"), ""),
    (re.compile(r"(?<=\w)\s*\+\s*(?=(?:an? )?[A-Za-z])|(?<=\))\s*\+\s*(?=[A-Za-z])|\s&\s"), " and "),
    (re.compile(r"\s*[~≈]\s*(?=\d)"), " about "),
    (re.compile(r"\s*=\s*(?=\d)"), " "),
    (re.compile(r"[Øø∅](?=\s)"), "no"),
    (re.compile(r"↑"), "increased"),
    (re.compile(r"↓"), "decreased"),
    (re.compile(r"\boutwith\b", re.I), "outside"),
    (re.compile(r"\boff the (?=field|scan)", re.I), "outside the "),
    (re.compile(r"\bC/?T ratio\b"), "cardiothoracic ratio"),
)


_NUMERALS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen"
    " nineteen twenty"
).split()
_SPELLED = re.compile(
    rf"\b(?P<number>{'|'.join(reversed(_NUMERALS))})(?=[ -](?:(?:mm|cm|ml|l|hu)\b|millim|centim|millil|litre|liter|per ?cent|hounsfield))",
    re.I,
)
_DOZEN = re.compile(r"\b(?P<half>half )?an? dozen\b", re.I)
_FIELD = re.compile(r"\b(?P<where>outside|in|within|of|beyond|inside) field of view", re.I)


@functools.lru_cache(maxsize=4096)
def plainly(text: str) -> str:
    """The text with its abbreviations written out and its frames of doubt and denial in the reader's own words."""
    text = _without_numbering(text)
    for pattern, plain in _SIGNS:
        text = pattern.sub(plain, text)
    text = _abbreviation().sub(_written_out, text)
    text = _SPELLED.sub(lambda found: str(_NUMERALS.index(found["number"].lower()) + 1), text)
    text = _DOZEN.sub(lambda found: "six" if found["half"] else "twelve", text)
    text = _FIELD.sub(r"\g<where> the field of view", text)
    for pattern, plain in _FRAMES:
        text = pattern.sub(plain, text)
    return text


def _without_numbering(text: str) -> str:
    """ "1. X 2. Y": the numbers of a list that begins with its first, in order; any other number counts something."""
    at, number = 0, 1
    while found := re.compile(rf"(?<![\w.])\(?{number}[.)](?=\s+[A-Za-z])").search(text, at):
        if number == 1 and text[: found.start()].strip():
            break
        text = f"{text[: found.start()]}{' ; ' if number > 1 else ''}{text[found.end() :]}"
        at, number = found.start(), number + 1
    return text


@functools.cache
def _abbreviation() -> re.Pattern[str]:
    keys = sorted(load_vocabulary().abbreviations, key=len, reverse=True)
    return re.compile(rf"(?<![\w/'.])(?:{'|'.join(map(re.escape, keys))})(?![\w/'])", re.I)


def _written_out(match: re.Match[str]) -> str:
    """An abbreviation in capitals is one only in capitals: "PE", never "pe"; a side is none after a number: "1.2 L"."""
    found, known = match.group(), load_vocabulary().abbreviations
    if found in known:
        after_number = re.search(r"\d\s*$", match.string[: match.start()])
        return found if found in ("L", "R") and after_number else known[found]
    return known.get(found.lower(), found)
