"""``read --impressions``: what the language model says from the image alone, beside what the tools measured.

An impression is never evidence and changes no sentence. How often it agrees with the tools is told under "To review",
and so is each disagreement; the whole list lies in the report's provenance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vlm.encoder import load_encoder
from vlm.encoder.embedding import embedding
from vlm.encoder.weights import WeightsError
from vlm.evidence import Case, Ledger
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.impressions import Impression, Impressions, standing_of
from vlm.language.models import ModelMissingError
from vlm.report import CapabilityOff, Sentence

REASON = "an impression of the language model from the image, which is no evidence"
SAYS = {"present": True, "absent": False, "limited": False}  # standing of the tools -> whether it is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """Impressions of one scan, each with what the tools say; or why there are none."""

    said: Sequence[tuple[Impression, bool | None]] = ()  # None: the tools cannot say
    model: str = ""
    off: CapabilityOff | None = None
    sentences: Sequence[str] = field(default=())

    def record(self) -> dict[str, object]:
        """For the report's provenance."""
        if self.off is not None:
            return {"off": self.off.reason}
        told = [
            {"finding": one.finding, "organ": one.organ, "side": one.side, "says": one.present, "tools": tools}
            for one, tools in self.said
        ]
        return {"model": self.model, "statements": told}


def impressions_of(case: Case, ledger: Ledger) -> Opinion:
    """What the model says of a scan that has been read; nothing is written to its ledger."""
    try:
        model = Impressions()
        said = model.of(embedding(case, load_encoder()))
    except (ModelMissingError, WeightsError) as error:
        reason, _, remedy = str(error).partition(". ")
        off = CapabilityOff(capability="impressions from the image", reason=reason, remedy=remedy or "See doctor.")
        return Opinion(off=off)
    both = [(one, SAYS.get(standing_of(one, ledger))) for one in said]
    return Opinion(said=both, model=model.name, sentences=told(both))


def told(said: Sequence[tuple[Impression, bool | None]]) -> list[str]:
    """Agreement in a sentence, and disagreement in one each way."""
    known = [(one, tools) for one, tools in said if tools is not None]
    if not known:
        return []
    agree = sum(one.present == tools for one, tools in known)
    lines = [
        f"From the image alone the language model says the same as the tools in {agree} of {len(known)} statements."
    ]
    for there, end in ((True, "which no measurement supports"), (False, "which was measured")):
        names = [_named(one) for one, tools in known if one.present == there and tools != there]
        if names:
            lines.append(f"The model {'suggests' if there else 'does not see'} {', '.join(names)}, {end}.")
    return lines


def _named(one: Impression) -> str:
    name = load_vocabulary().finding(one.finding).name
    return f"{name} on the {one.side}" if one.side else name


def reviewed(sentences: Sequence[Sentence], opinion: Opinion) -> list[Sentence]:
    """The sentences of a report with those of an opinion at the end of "To review"."""
    late = [
        Sentence(id="", section="to_review", text=text, cites=(), author="model", verdict="unsupported", reason=REASON)
        for text in opinion.sentences
    ]
    tail = [sentence for sentence in sentences if sentence.section == "not_assessed"]
    ordered = [*(sentence for sentence in sentences if sentence.section != "not_assessed"), *late, *tail]
    return [sentence.model_copy(update={"id": f"S{n}"}) for n, sentence in enumerate(ordered, start=1)]
