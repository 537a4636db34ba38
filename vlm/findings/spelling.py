"""Words as they are compared: tokens of a text, and one spelling for each.

A text goes in, tokens with their places come out. Case, plural -s, Latin plurals and
British or American spelling make no difference; a hyphen inside a word separates two
words and is no token itself.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple


class Token(NamedTuple):
    """A word, number or punctuation mark of a text."""

    word: str  # normalised
    start: int
    end: int
    is_word: bool  # letters, not a number or a mark


# A run of letters (n't and 's stay with their word), a number, or one mark.
_TOKEN = re.compile(r"(?P<w>[^\W\d_]+(?:['’][^\W\d_]+)?)|\d+(?:[.,]\d+)?|[^\w\s]|_")

# Words whose final s is not a plural.
_SINGULAR_S = """
is was has as this thus its pus us ss lens pancreas gas vas mass loss process access excess abscess pons species
series towards afterwards does ours yes his hers always perhaps besides less unless across whereas versus various
biceps dens minus plus lupus cns ards copds his pyloris meninges caries herpes pubis mumps sometimes upwards
downwards backwards forwards bilaterals ms previous nevertheless nonetheless regardless
"""
_KEEP_S = frozenset(_SINGULAR_S.split())

_IRREGULAR = """
vertebrae:vertebra bronchi:bronchus metastases:metastasis diagnoses:diagnosis nodi:node noduli:nodule foci:focus
calculi:calculus thrombi:thrombus emboli:embolus apices:apex atelectases:atelectasis indices:index corpora:corpus
hila:hilum hili:hilum hilus:hilum hilar:hilar bullae:bulla axillae:axilla pleurae:pleura septa:septum
diverticula:diverticulum varices:varix stenoses:stenosis calyces:calyx calices:calyx sequelae:sequela feet:foot
lithiases:lithiasis scleroses:sclerosis adenomegalies:adenomegaly
criteria:criterion alveoli:alveolus analyses:analysis pelves:pelvis prostheses:prosthesis fistulae:fistula
bronchiectases:bronchiectasis granulomata:granuloma hemangiomata:hemangioma anastomoses:anastomosis atria:atrium
scapulae:scapula cavae:cava aortae:aorta media:media data:data viscera:viscera ova:ovum adnexae:adnexa lobi:lobe
tumour:tumor calibre:caliber fibre:fiber centre:center litre:liter metre:meter millimetre:millimeter
centimetre:centimeter millilitre:milliliter artefact:artifact goitre:goiter disk:disc grey:gray titre:titer
tumoural:tumoral neighbouring:neighboring favour:favor colour:color
"""
_ONE_SPELLING = dict(pair.split(":") for pair in _IRREGULAR.split())

_BRITISH = (
    ("oedem", "edem"),
    ("oesoph", "esoph"),
    ("haem", "hem"),
    ("aemi", "emi"),
    ("orthopaed", "orthoped"),
    ("gynaec", "gynec"),
    ("coelia", "celia"),
    ("caec", "cec"),
    ("isation", "ization"),
    ("ised", "ized"),
    ("aneurism", "aneurysm"),
)


@functools.lru_cache(maxsize=1 << 16)
def normalise_word(word: str) -> str:
    """One word as it is compared: lower case, American spelling, singular."""
    low = word.lower().replace("’", "'")
    if low.endswith("'s"):
        low = low[:-2]
    if low in _ONE_SPELLING:
        return _ONE_SPELLING[low]
    if len(low) > 4:
        for british, american in _BRITISH:
            low = low.replace(british, american)
    if (
        len(low) > 3
        and low.endswith("s")
        and low not in _KEEP_S
        and not low.endswith(("ss", "sis", "us", "xis", "itis"))
    ):
        low = _singular(low)
    if low.endswith(("emboli", "thrombi", "bronchi", "noduli")):
        low = f"{low[:-1]}us"
    return _ONE_SPELLING.get(low, low)


def _singular(low: str) -> str:
    if low.endswith("ies") and len(low) > 4:
        return low[:-3] + "y"
    if low.endswith(("sses", "xes", "ches", "shes", "tzes", "uses", "ises")) and not low.endswith(
        ("auses", "houses", "rises")
    ):
        return low[:-2]
    if low.endswith(("ascites", "diabetes")):
        return low
    return low[:-1]


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text, in order. A hyphen or apostrophe between letters is left out."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        start, end = match.span()
        if match["w"]:
            found.append(Token(normalise_word(match[0]), start, end, True))
        elif (
            match[0] in "-–'’`" and start > 0 and end < len(text) and text[start - 1].isalnum() and text[end].isalnum()
        ):
            continue
        else:
            found.append(Token(match[0], start, end, False))
    return found


def normalise(text: str) -> tuple[str, ...]:
    """The words and numbers of a phrase as they are compared; marks are left out."""
    return tuple(token.word for token in tokens_of(text) if token.word[0].isalnum())
