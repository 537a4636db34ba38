"""Adapters: what was learned on top of an encoder that is frozen, in one small file, swapped while the base is loaded.

An adapter holds LoRA parts of the base's last stage (none at rank 0), the way of its features into the space of
MiniLM's words, and a head for each finding with its calibration. It fits one base: another is refused. Features are
centred organ by organ and whitened first. Hu et al., arXiv 2106.09685.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vlm.encoder.calibration import Calibration
from vlm.encoder.embedding import Embedding
from vlm.encoder.protocol import Encoder, Features, Identity, TextTower, Vector
from vlm.encoder.recipe import Prepared
from vlm.encoder.weights import WeightsError
from vlm.findings.vocabulary import load_vocabulary

if TYPE_CHECKING:
    import torch

    from vlm.encoder.resnet import I3ResNet

MOST_BYTES = 2_000_000
ARRAYS = ("directions", "scale", "up", "weight", "bias")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A finding that an adapter knows."""

    column: str  # as the pack names it
    findings: tuple[str, ...]  # keys of the vocabulary
    calibration: Calibration | None = None
    why: str = ""  # why it is not calibrated
    share: float | None = (
        None  # of scans like those that its probabilities are for; None: as of those that calibrated it
    )

    @property
    def usual(self) -> float | None:
        """How often the finding is there before a scan is looked at; None where it is not calibrated."""
        told = self.calibration
        return self.share if self.share is not None or told is None else told.usual


def answers(known: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether what is known of a column answers a question: for all its findings, or for its first and main one."""
    return set(known) == set(asked) or list(asked) == list(known[:1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """What was learned. Arrays are float32; D numbers of the base's features, R directions, K heads."""

    name: str
    base: str  # identity of the encoder
    means: Mapping[str, Vector]  # structure, "" for the whole scan -> (D,)
    directions: Vector  # (R, D) orthonormal
    scale: Vector  # (R,) spread along each
    up: Vector  # (384, R) into the space of words
    weight: Vector  # (K, R)
    bias: Vector  # (K,)
    heads: tuple[Head, ...]
    farthest: float  # distance from the training scans beyond which nothing is claimed
    trained_on: str  # in words: "60 synthetic chests"
    command: str  # that made it
    rank: int = 0
    lora: Mapping[str, Vector] = field(default_factory=dict)  # "0.conv1.A" (r, in·k³), "0.conv1.B" (out, r)
    sha256: str = ""  # of its file

    def whitened(self, vector: Vector, organ: str = "") -> Vector:
        """(..., D) features of a structure -> (..., R). A feature that is NaN could not be told: it says nothing."""
        centred = np.nan_to_num(vector - self.means.get(organ, self.means[""]))
        return np.asarray(centred @ self.directions.T / self.scale, dtype=np.float32)

    def words(self, vector: Vector, organ: str = "") -> Vector:
        """(..., D) -> (..., 384) of length one, in the space of words."""
        shared = self.whitened(vector, organ) @ self.up.T
        return np.asarray(shared / np.maximum(np.linalg.norm(shared, axis=-1, keepdims=True), 1e-12), dtype=np.float32)

    def logits(self, vectors: Embedding) -> dict[str, float]:
        """Column -> the head's score, of the organ where its first finding sits."""
        out = {}
        for head, weight, bias in zip(self.heads, self.weight, self.bias, strict=True):
            vector, organ = vectors.of(load_vocabulary().finding(head.findings[0]).site)
            out[head.column] = float(self.whitened(vector, organ if organ in self.means else "") @ weight + bias)
        return out

    def distance(self, vectors: Embedding) -> float:
        """How far a scan lies from those of the training: mean square of its coordinates and of what they leave out."""
        centred = np.nan_to_num(vectors.vector - self.means[""])
        inside = centred @ self.directions.T
        rest = float((centred**2).sum() - (inside**2).sum())
        told = max(float(np.isfinite(vectors.vector).mean()), 1e-3)  # what could not be told lies nowhere
        return float(((inside / self.scale) ** 2).mean() + rest / float((self.scale**2).sum())) / told

    def known(self, head: Head, vectors: Embedding) -> float:
        """The share, 0..1, of what a head looks at that could be told of a scan: features that are not NaN."""
        looks = np.abs(self.weight[self.heads.index(head)]) @ np.abs(self.directions)
        return float(looks[np.isfinite(vectors.vector)].sum() / looks.sum()) if looks.any() else 1.0

    def head_of(self, findings: Iterable[str]) -> Head | None:
        """The head that answers for these findings; None where there is none."""
        wanted = tuple(findings)
        return next((head for head in self.heads if answers(head.findings, wanted)), None)

    def save(self, path: Path) -> int:
        """Write it, half precision, whole or not at all; its size in bytes.

        Raises:
            WeightsError: it is larger than an adapter may be.
        """
        from safetensors.numpy import save

        arrays = {name: getattr(self, name) for name in ARRAYS}
        arrays |= {f"mean:{name}": value for name, value in self.means.items()}
        arrays |= {f"lora:{name}": value for name, value in self.lora.items()}
        heads = [
            {"column": h.column, "findings": list(h.findings), "why": h.why, "share": h.share,
             "calibration": h.calibration.document() if h.calibration else None}
            for h in self.heads
        ]  # fmt: skip
        told = {name: getattr(self, name) for name in ("name", "base", "farthest", "trained_on", "command", "rank")}
        metadata = {"tomoscribe": json.dumps({**told, "heads": heads}, sort_keys=True)}
        data = save({k: np.ascontiguousarray(v, dtype=np.float16) for k, v in arrays.items()}, metadata)
        if len(data) > MOST_BYTES:
            raise WeightsError(
                f"E_ADAPTER: it has {len(data) / 1e6:.1f} MB, expected at most {MOST_BYTES / 1e6:.0f}. Lower --rank."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        unready = path.with_suffix(".part")
        unready.write_bytes(data)
        unready.replace(path)
        return len(data)


def load_adapter(path: Path) -> Adapter:
    """An adapter from its file; nothing in it is run.

    Raises:
        WeightsError: it is no adapter of ours, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            told: dict[str, Any] = json.loads((file.metadata() or {})["tomoscribe"])
            arrays = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        heads = tuple(
            Head(column=h["column"], findings=tuple(h["findings"]), why=h["why"], share=h.get("share"),
                 calibration=Calibration.of(h["calibration"]) if h["calibration"] else None)
            for h in told.pop("heads")
        )  # fmt: skip
        parts = {
            kind: {name.split(":", 1)[1]: v for name, v in arrays.items() if name.startswith(kind)}
            for kind in ("mean:", "lora:")
        }
        return Adapter(
            **told, **{name: arrays[name] for name in ARRAYS}, heads=heads, means=parts["mean:"], lora=parts["lora:"],
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )  # fmt: skip
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"E_ADAPTER: {path.name} is no adapter that tomoscribe adapt wrote ({type(error).__name__}), or damaged."
        ) from None


class Towered(Encoder, Protocol):
    """An encoder whose image tower is an I3ResNet that is folded."""

    tower: I3ResNet
    device: torch.device
    dtype: torch.dtype


class Adapted:
    """An encoder with adapters side by side; one is in use, ``use`` swaps it, the base is loaded once."""

    def __init__(self, base: Encoder, adapters: Iterable[Adapter]) -> None:
        """The first adapter is in use.

        Raises:
            WeightsError: an adapter belongs to another base.
        """
        self.base, self.recipe, self.licence = base, base.recipe, base.licence
        self._held = {adapter.name: adapter for adapter in adapters}
        for adapter in self._held.values():
            if adapter.base != str(base.identity):
                raise WeightsError(
                    f"E_ADAPTER: {adapter.name} was trained on {adapter.base}, found {base.identity}. "
                    "Take the encoder it was trained on, or train it again."
                )
        self._stages: dict[str, torch.nn.Module] = {}
        self.use(next(iter(self._held)))

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters that can be used."""
        return tuple(self._held)

    def use(self, name: str) -> Adapter:
        """Take another adapter; the base stays as it is."""
        self.adapter = self._held[name]
        if self.adapter.rank and name not in self._stages:
            self._stages[name] = merged(self.towered().tower.layer4, self.adapter)
        return self.adapter

    def towered(self) -> Towered:
        """The base, where its last stage can be adapted.

        Raises:
            WeightsError: it has none.
        """
        if not hasattr(self.base, "tower"):
            raise WeightsError(f"E_ADAPTER: {self.base.identity} takes no LoRA, expected astra or merlin.")
        return self.base  # type: ignore[return-value]  # it has a tower

    @property
    def identity(self) -> Identity:
        """Of rank 0 the base's own: its features are unchanged."""
        own = self.base.identity
        if not self.adapter.rank:
            return own
        weights = hashlib.sha256(f"{own.weights} {self.adapter.sha256}".encode()).hexdigest()
        return Identity(encoder=f"{own.encoder}+{self.adapter.name}", weights=weights, recipe=own.recipe)

    @property
    def text(self) -> TextTower | None:
        """MiniLM, whose space the features were brought into; None where they were not."""
        if not len(self.adapter.up):
            return None
        from vlm.encoder.minilm import minilm

        return minilm()

    def features(self, prepared: Prepared) -> Features:
        """The map of the last stage as the adapter in use has it."""
        if not self.adapter.rank:
            return self.base.features(prepared)
        import torch

        from vlm.encoder.astra import STRIDE

        base = self.towered()
        values = torch.from_numpy(prepared.values)[None, None].to(base.device, base.dtype)
        with torch.inference_mode():
            before = base.tower(values, ("layer3",))["layer3"]
            last = self._stages[self.adapter.name](before)[0].permute(0, 2, 3, 1).float().cpu()
        return Features(np.ascontiguousarray(last.numpy()), STRIDE)

    def project(self, features: Vector, organ: str = "") -> Vector:
        """(N, D) features of a structure -> (N, 384) unit vectors among words."""
        return self.adapter.words(features, organ)


def merged(stage: torch.nn.Module, adapter: Adapter) -> torch.nn.Module:
    """A copy of the last stage with an adapter's LoRA parts added: W + B A / 1, whatever the kernel's size.

    peft cannot merge 1 x 1 x 1 kernels of three dimensions; as matrices all kernels are alike.
    """
    import torch

    made = copy.deepcopy(stage)
    with torch.inference_mode():
        for name in sorted({key.rsplit(".", 1)[0] for key in adapter.lora}):
            kernel = made.get_submodule(name).weight
            a, b = (torch.from_numpy(adapter.lora[f"{name}.{part}"]) for part in "AB")
            added = kernel.float() + (b @ a).reshape(kernel.shape).to(kernel.device)
            kernel.copy_(added.to(kernel.dtype))
    return made
