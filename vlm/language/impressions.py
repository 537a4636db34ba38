"""What the embedded model says of an organ from the image encoder's vector alone.

In: the vectors of a scan's organs. Out: for each a statement a finding, present or absent, of a closed list. These are
impressions, never evidence: nothing was measured, no place or size is known, and no sentence of a report may rest on
them. A grammar leaves two sentences a finding, "Pneumothorax." and "No pneumothorax."; the model chooses, by what it
said before, too. Made by ``vlm.train.impressions``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm.encoder.embedding import Embedding
from vlm.evidence import Ledger, Side
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.models import ModelMissingError
from vlm.language.query import Query
from vlm.language.standing import Status, stands

if TYPE_CHECKING:
    from torch import Tensor

COUPLED = Path(__file__).parent / "coupled"
_LUNG = ("pleural_effusion", "pneumothorax", "lobar_collapse", "consolidation", "ground_glass_opacity", "emphysema")
# Structure -> what is said of it, in this order.
ASKED: Mapping[str, tuple[str, ...]] = {
    "lung_left": _LUNG, "lung_right": _LUNG,
    "heart": ("cardiomegaly", "pericardial_effusion", "coronary_artery_calcification"),
    "aorta": ("aortic_aneurysm", "aortic_calcification"),
    "liver": ("hepatic_steatosis", "ascites"),
    "skeleton": ("osteopenia",),
}  # fmt: skip
SIDES: Mapping[str, Side] = {"lung_left": "left", "lung_right": "right"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Impression:
    """One statement about one organ."""

    organ: str
    finding: str
    side: Side | None
    score: float  # logit of present against absent, less the threshold: above 0 is present

    @property
    def present(self) -> bool:
        """What was said."""
        return self.score > 0


def question(organ: str) -> str:
    """What stands between the image and the answer."""
    return f"{organ.replace('_', ' ')}:"


def statement(finding: str, *, present: bool) -> str:
    """The one sentence that the grammar has for it."""
    name = load_vocabulary().finding(finding).name
    return f" {name[0].upper()}{name[1:]}." if present else f" No {name}."


class Impressions:
    """The embedded model with a projector and an adapter that learned to read organ vectors."""

    def __init__(self, folder: Path = COUPLED) -> None:
        """Load them.

        Raises:
            ModelMissingError: a package or the weights are missing, or they belong to another base.
        """
        import torch

        from vlm.language import embedded_weights
        from vlm.language.embedded import load_weights
        from vlm.language.projector import FILE, FIRST, Projector, Shape, load

        if not (folder / FILE).is_file():
            raise ModelMissingError(
                f"E_MODEL: {folder.name} holds no {FILE}, expected what vlm.train.impressions made."
            )
        weights, basis, note = load(folder)
        if note["base"] != embedded_weights.SHA256 or basis is None:
            raise ModelMissingError(f"E_MODEL: {folder.name} was made for another base. Train it anew.")
        self.identity: str = note["encoder"]
        self.threshold: float = note.get("threshold", 0.0)
        self.note = note
        self.digest = embedded_weights.digest(folder / FILE)
        self.name = f"{embedded_weights.NAME} {embedded_weights.SHA256[:12]} + image {self.digest[:12]}"
        self._basis = basis
        self._net, self._tokenizer = load_weights(embedded_weights.model_folder(), folder / "adapter")
        words = self._net.get_input_embeddings().weight
        with torch.inference_mode():
            self._projector = Projector(weights[FIRST].shape[1], words.shape[1], Shape(**note["shape"]), note["scale"])
            self._projector.load_state_dict(weights, strict=True)
            self._projector.eval()

    def of(self, seen: Embedding) -> list[Impression]:
        """All statements about the organs that the encoder has a vector of.

        Raises:
            ValueError: the vectors are another encoder's.
        """
        if seen.identity != self.identity:
            raise ValueError(f"vectors of {seen.identity}, expected {self.identity}")
        return [said for organ in ASKED if organ in seen.organs for said in self._of(organ, seen.organs[organ])]

    def _of(self, organ: str, vector: Any) -> list[Impression]:
        import torch

        with torch.inference_mode():
            token = torch.from_numpy(self._basis.coordinates(organ, vector))[None]  # (1, 1, F)
            image = self._projector(token, torch.zeros(1, 1, dtype=torch.bool))
            scores = choose(self._net, self._tokenizer, image, question(organ), ASKED[organ], self.threshold)
        return [
            Impression(organ=organ, finding=finding, side=SIDES.get(organ), score=score)
            for finding, score in zip(ASKED[organ], scores, strict=True)
        ]


def standing_of(said: Impression, ledger: Ledger) -> Status:
    """What the tools say of the finding of an impression, on its side."""
    query = Query(words="", findings=(said.finding,), side=said.side)
    return stands(query, ledger).status


def choose(
    net: Any, tokenizer: Any, image: Tensor, asked: str, findings: Sequence[str], threshold: float
) -> list[float]:
    """Say a statement a finding, each after those before it; gives back the scores, above 0 where present was said.

    Args:
        net: a causal model of transformers.
        tokenizer: its own.
        image: (1, T, width) embeddings.
        asked: what stands after them.
        findings: in the order of the statements.
        threshold: what the logit of present must exceed that of absent by.
    """
    import torch

    def coded(text: str) -> Tensor:
        return torch.tensor([tokenizer.encode(text, add_special_tokens=False)], device=net.device)

    words = net.get_input_embeddings()
    given = torch.cat([image.to(words.weight), words(coded(asked))], dim=1)  # (1, L, width)
    cache, scores = None, []
    for finding in findings:
        out = net(inputs_embeds=given, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, last = out.past_key_values, out.logits[0, -1].float()
        there, not_there = (coded(statement(finding, present=present)) for present in (True, False))
        scores.append(float(last[there[0, 0]] - last[not_there[0, 0]]) - threshold)
        given = words(there if scores[-1] > 0 else not_there)
    return scores
