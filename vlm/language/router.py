"""What a question asks for: an intent of ``prompts/intents.toml`` and the findings, places and side it names.

Without a language model this is how words reach the tools. A linear head over MiniLM's embedding (by a LoRA trained
with it), the rules' cues and what was named decides where the extra ``encoder`` is installed; otherwise the rules alone
do: the first intent in the order of the file whose cue fits. An unsure choice comes back with the next best, so that
somebody can be asked.
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlm.encoder.minilm import MiniLM, installed
from vlm.findings.mentions import Span
from vlm.findings.spelling import tokens_of
from vlm.language.topic import Topic, names_in, places_in, topic_of, within

HEAD = "intents.safetensors"  # beside this file; written by python -m vlm.train.intents
SURE = 0.45  # of the head's choice; below it two intents are offered instead
SURE_TO_DECLINE = 0.5  # where the choice is to decline: what can be answered should not be
MEANING, FLAGS = 384, 4  # places of the embedding; a finding, a place, a side named, somebody points
SCALES = (5.0, 0.5, 0.5, 0.3)  # of the embedding, the cues, the flags and the words: how fast each is learned
WORDS = 2048  # places of words and pairs
LEAST = 0.3  # below it nothing is declined for what the head takes it for
NEXT = 2  # the head's choices that are offered; a cue of the rules decides between them
WHOLE = frozenset({"chest", "abdomen", "pelvis"})  # of which one wants the impression, as of a scan
FINDING, PLACE = "finding", "organ"  # what stands for the names of findings and of places
# Words that a reader of reports takes for a finding or a place, and that say here what is asked: they stay.
TELLING = re.compile(
    r"(abnormal|patholog|malignan|cancer|tumou?r|infect|inflamm|treat|therap|radio|medicat|operat|surg|trauma|segment)\w*"
    r"|\w+ed|broken|swollen|dense|wide|thick|narrow|head|hand|marked \w+|recurrence|relapse",
    re.I,
)
# "Is there one?": all of it is said by the turn before, and there is nothing in it for a head to weigh.
BARE = re.compile(
    r"(?:is|are|do|does|did|have|has) (?:there|i|you|we|he|she|it|they)(?: have| see| find| got)? (?:one|any|some)"
    r"(?: of (?:it|them|those|these))?(?: on (?:the )?(?:left|right)(?: side)?)?[ ?.!]*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Something that a question can ask for."""

    key: str
    says: str
    declined: str
    cues: tuple[re.Pattern[str], ...]
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a question was taken for."""

    intent: str
    topic: Topic
    by: str  # "rules" or "head 0.93"
    sure: bool = True
    other: str = ""  # the next best intent, where the choice is not sure
    weak: bool = False  # hardly more than a guess

    @property
    def declined(self) -> bool:
        """Whether it is taken for what no scan can answer: surely, or likely while no finding is named."""
        refused = self.intent in intents() and bool(intents()[self.intent].declined)
        return refused and (self.sure or not (self.topic.findings or self.weak))


@functools.cache
def intents() -> Mapping[str, Intent]:
    """Every intent, in the order of the file."""
    data = tomllib.loads((files("prompts") / "intents.toml").read_text(encoding="utf-8"))["intent"]
    return {
        key: Intent(
            key=key, says=entry["says"], declined=entry.get("declined", ""),
            cues=tuple(re.compile(cue) for cue in entry["cues"]), examples=tuple(entry["examples"]),
        )
        for key, entry in data.items()
    }  # fmt: skip


def route(text: str, *, pointed: bool = False) -> Asked:
    """Take a question for one intent. Never raises; what fits nothing is "unknown" and not sure."""
    topic = topic_of(text)
    if BARE.fullmatch(plainly(text)):
        return Asked(intent="presence", topic=topic, by="rules")
    known = _examples().get(_bare(without_names(text)))
    if known is not None and possible(known, topic, pointed):
        return Asked(intent=known, topic=topic, by="rules")
    if head() is None:
        return _by_rules(text, topic, pointed)
    return _by_head(text, topic, pointed)


@functools.cache
def _examples() -> Mapping[str, str]:
    """The examples of the intents in bare words, each with its intent; without those that stand under two."""
    found: dict[str, set[str]] = {}
    for intent in intents().values():
        for example in intent.examples:
            bare = example.replace("{finding}", FINDING).replace("{organ}", PLACE)
            found.setdefault(_bare(bare), set()).add(intent.key)
    return {text: keys.pop() for text, keys in found.items() if len(keys) == 1 and "{" not in text}


def _bare(text: str) -> str:
    return plainly(text).strip(" ?.!,")


def _by_rules(text: str, topic: Topic, pointed: bool) -> Asked:
    plain = plainly(text)
    fits = [key for key, hit in zip(intents(), cues(plain), strict=True) if hit and possible(key, topic, pointed)]
    if fits:
        return Asked(intent=fits[0], topic=topic, by="rules")
    if topic.findings or topic.sites:
        return Asked(intent="presence" if topic.findings else "organ", topic=topic, by="rules")
    return Asked(intent="here" if pointed else "unknown", topic=topic, by="rules", sure=pointed)


def _by_head(text: str, topic: Topic, pointed: bool) -> Asked:
    known = head()
    assert known is not None
    said = np.concatenate([known.encoder.embed([without_names(text)]) * SCALES[0], said_plainly([text], [pointed])], 1)
    logits = said[0] @ known.weights + known.bias
    names = list(intents())
    logits[[not possible(key, topic, pointed) for key in names]] = -np.inf
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    best = np.argsort(-shares)[:NEXT]
    first, second = best[:2]
    sure = bool(shares[first] >= (SURE_TO_DECLINE if intents()[names[first]].declined else SURE))
    ruled = _by_rules(text, topic, pointed)
    if not sure and ruled.intent in [names[n] for n in best]:
        return ruled  # a cue fits, and the head does not speak against it
    return Asked(
        intent=names[first], topic=topic, by=f"head {shares[first]:.2f}", sure=sure,
        other="" if sure else names[second], weak=bool(shares[first] < LEAST),
    )  # fmt: skip


def possible(intent: str, topic: Topic, pointed: bool) -> bool:
    """Whether an intent can be meant at all, by what is named and by whether somebody points."""
    if intent in ("meaning", "limit", "character"):
        return bool(topic.findings) or intent != "meaning"
    if intent in ("structure", "segment", "organ"):
        return bool(topic.sites) and (intent == "segment" or not topic.findings)
    if intent in ("normal", "impression"):  # "is the thyroid normal?" asks of the thyroid
        return not set(topic.sites) - WHOLE
    if intent == "lesion":
        return pointed
    return True


def plainly(text: str) -> str:
    """Small letters, one space apart."""
    return " ".join(text.lower().replace("’", "'").split())


def cues(plain: str) -> list[bool]:
    """For each intent whether one of its cues fits."""
    return [any(cue.search(plain) for cue in intent.cues) for intent in intents().values()]


# ---- the head


class Head(NamedTuple):
    """What decides: an encoder, and weights (features, intents) and bias over its vector and ``said_plainly``."""

    encoder: MiniLM
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


def said_plainly(texts: Sequence[str], pointed: Sequence[bool]) -> NDArray[np.float32]:
    """(N, intents + flags + WORDS) float32: cues that fit, what is named, the words beside the names."""
    hits = np.array([cues(plainly(text)) for text in texts], dtype=np.float32)
    named = [topic_of(text) for text in texts]
    flags = np.array(
        [[bool(t.findings), bool(t.sites), bool(t.side), at] for t, at in zip(named, pointed, strict=True)],
        dtype=np.float32,
    )
    words = np.stack([_words(without_names(text)) for text in texts])
    return np.concatenate([SCALES[1] * hits, SCALES[2] * flags, SCALES[3] * words], axis=1)


def _words(text: str) -> NDArray[np.float32]:
    """(WORDS,) float32: the words and pairs of neighbours of a text, each at the place of its checksum."""
    words = ["^", *(token.word for token in tokens_of(text.lower()) if token.is_word), "$"]
    out = np.zeros(WORDS, dtype=np.float32)
    for gram in (*words[1:-1], *map(" ".join, pairwise(words))):
        out[zlib.crc32(gram.encode()) % WORDS] = 1.0
    return out


def without_names(text: str) -> str:
    """The question with findings and places under one name each, so that what is asked stands out from what of."""
    taken = _joined(named.span for named in names_in(text))
    spans = [(span, FINDING) for span in taken]
    spans += [(span, PLACE) for span in places_in(text) if not within(span, taken)]
    out = text
    for (start, end), name in sorted(spans, reverse=True):
        if not TELLING.fullmatch(out[start:end]):
            out = f"{out[:start]}{name}{out[end:]}"
    return " ".join(out.split())


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Spans that overlap as one: "a stone in the gallbladder or the kidney" names two findings with one word."""
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start < out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


@functools.cache
def head() -> Head | None:
    """The trained head; None where MiniLM is not installed or the head is another's."""
    path = files("vlm.language") / HEAD
    if not installed() or not path.is_file():
        return None
    from safetensors.torch import load

    data = path.read_bytes()
    kept = {name: tensor.float() for name, tensor in load(data).items()}
    size = int.from_bytes(data[:8], "little")
    told = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    length = MEANING + len(intents()) + FLAGS + WORDS
    if told.get("intents") != json.dumps(list(intents())) or len(kept["weights"]) != length:
        return None  # trained for other intents or other features: the rules answer
    layers = [name.removesuffix(".up") for name in kept if name.endswith(".up")]
    added = {f"{layer}.weight": kept[f"{layer}.up"] @ kept[f"{layer}.down"] for layer in layers}
    return Head(MiniLM(added), kept["weights"].numpy(), kept["bias"].numpy())


def words_in(text: str) -> int:
    """How many words a question has."""
    return sum(token.is_word for token in tokens_of(text))
