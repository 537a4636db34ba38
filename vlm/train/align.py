"""Adapt an encoder to scans with reports or labels: ``tomoscribe adapt --data COHORT --out mine.adapter``.

Read from top to bottom. Each scan goes through the frozen encoder once and is kept. Learned are a way into the space of
MiniLM's words, a head for each finding and, with a rank, LoRA parts of the last stage. Asked: that a scan is near its
own report and none of those that say something else (who says the same is no negative), that it is nearer to what says
a finding than to what denies it, and that the heads are right. Killed, it goes on at its last epoch.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vlm.encoder.adapter import Adapter, Head
from vlm.encoder.calibration import auroc, calibrate, resampled
from vlm.encoder.minilm import minilm
from vlm.encoder.zeroshot import prompts
from vlm.errors import UsageError
from vlm.findings.packs import Column
from vlm.findings.vocabulary import load_vocabulary
from vlm.train.contrast import agreement, contrast
from vlm.train.maps import Seen
from vlm.train.pairs import part_of

DIRECTIONS = 64  # of the features' spread that are kept
LEAST_OF_A_KIND = 3  # patients with, and without, in the training part: with fewer a finding gets no head
RIDGE = 0.03  # on a head's weights: there are about as many of them as scans
MOST_LOST = 0.005  # AUROC that a finding known before may lose
FAR = 1.25  # times the greatest distance seen: scans beyond are out of the domain
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that a run depends on beside its data."""

    rank: int = 8
    steps: int = 400  # of everything but the last stage, on features that are kept
    epochs: int = 3  # through the last stage, with a rank
    batch: int = 8
    rate: float = 1e-2
    lora_rate: float = 3e-4
    decay: float = 3e-2
    words: float = 0.5  # weight of the two losses with words, beside the heads' own
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An adapter and what it is worth on patients that took no part."""

    adapter: Adapter
    rows: tuple[Mapping[str, object], ...]  # a row a column: positives, AUROC with interval, before, shuffled
    lost: Mapping[str, float]  # column known before -> AUROC lost, where it is more than MOST_LOST


def align(
    cases: Sequence[Seen], columns: Sequence[Column], base: str, recipe: Recipe, *, name: str, command: str,
    trained_on: str, stage: nn.Module | None = None, before: Adapter | None = None, folder: Path | None = None,
    say: Say = lambda _: None,
) -> Result:  # fmt: skip
    """Train, calibrate and measure.

    Args:
        cases: scans through the frozen encoder, with what is known of them.
        columns: of the packs, to learn heads for.
        base: identity of the encoder.
        stage: its last stage, for LoRA; None at rank 0.
        before: an adapter whose findings may not be forgotten; its way into the space and its heads are gone on with.
        folder: where a killed run goes on.
    """
    torch.manual_seed(recipe.seed)
    parts = {part: [c for c in cases if part_of(c.patient) == part] for part in ("train", "tune", "test")}
    train = parts["train"]
    heads = [column for column in columns if learnable(column, train)]
    if not heads:
        raise UsageError(
            f"E_USAGE: no finding has {LEAST_OF_A_KIND} training patients with and {LEAST_OF_A_KIND} without. "
            "Give more scans, or another --pack."
        )
    space = space_of(train, name=name, base=base, command=command, trained_on=trained_on) if before is None else before
    learner = Learner(space, heads, stage, recipe, before)
    fit(learner, train, recipe, folder, say)
    adapter = learner.adapter(name, command, trained_on, _farthest(space, [*train, *parts["tune"]]))
    adapter = _calibrated(adapter, learner, parts["tune"])
    scores = head_scores(learner, parts["test"])
    rows = tuple(_row(column, scores[:, k], parts["test"], before) for k, column in enumerate(heads))
    lost = {
        str(row["column"]): float(row["before"]) - float(row["auroc"])  # type: ignore[arg-type]
        for row in rows
        if row["before"] is not None and float(row["before"]) - float(row["auroc"]) > MOST_LOST  # type: ignore[arg-type]
    }
    return Result(adapter=adapter, rows=rows, lost=lost)


def learnable(column: Column, cases: Sequence[Seen]) -> bool:
    """Whether enough patients with a finding, and without, are known for a head."""
    known = {c.patient: c.labels[column.name] for c in cases if column.name in c.labels}
    with_it = sum(known.values())
    return min(with_it, len(known) - with_it) >= LEAST_OF_A_KIND


def space_of(cases: Sequence[Seen], *, name: str, base: str, command: str, trained_on: str) -> Adapter:
    """An adapter that only centres and whitens: of the training scans, each structure about its own mean."""
    names = sorted({organ for case in cases for organ in case.vectors})
    held = {organ: np.stack([c.vectors[organ] for c in cases if organ in c.vectors]) for organ in names}
    means = {organ: rows.mean(axis=0) for organ, rows in held.items() if organ == "" or len(rows) >= len(cases) // 2}
    centred = np.concatenate([held[organ] - means[organ] for organ in means])
    _, size, directions = np.linalg.svd(centred, full_matrices=False)
    kept = min(DIRECTIONS, len(cases) - 1)
    variance = size[:kept] ** 2 / len(centred)
    scale = np.sqrt(variance + variance.mean())
    empty = np.zeros((0, kept), dtype=np.float32)
    return Adapter(
        name=name, base=base, means=means, directions=directions[:kept].astype(np.float32), command=command,
        scale=scale.astype(np.float32), up=empty, weight=empty, bias=np.zeros(0, np.float32), heads=(), farthest=0.0,
        trained_on=trained_on,
    )  # fmt: skip


class Learner(nn.Module):
    """What is learned: LoRA parts in a copy of the last stage, the way to words, the heads."""

    def __init__(
        self, space: Adapter, columns: Sequence[Column], stage: nn.Module | None, recipe: Recipe, before: Adapter | None
    ) -> None:
        super().__init__()
        self.space, self.columns, self.recipe = space, tuple(columns), recipe
        vocabulary, text = load_vocabulary(), minilm()
        entries = [vocabulary.finding(column.findings[0]) for column in columns]
        self.sites = [entry.site for entry in entries]
        asked = [np.subtract(*prompts(text, entry.positive, entry.negative)) for entry in entries]
        self.register_buffer("asked", torch.from_numpy(np.stack(asked)))  # (K, 384)
        for part in ("directions", "scale"):
            self.register_buffer(part, torch.from_numpy(getattr(space, part)))
        wide = len(space.scale)
        self.up = nn.Parameter(torch.randn(self.asked.shape[1], wide) / wide**0.5)
        self.weight, self.bias = nn.Parameter(torch.zeros(len(columns), wide)), nn.Parameter(torch.zeros(len(columns)))
        self.sharp, self.shift = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.zeros(len(columns)))
        if before is not None:
            self._go_on_with(before)
        self.stage = None if stage is None or not recipe.rank else with_lora(stage, recipe.rank)

    def _go_on_with(self, before: Adapter) -> None:
        """Begin where another adapter ended: its way to words, and the heads that are asked for again."""
        known = {head.column: n for n, head in enumerate(before.heads)}
        with torch.no_grad():
            self.up.copy_(torch.from_numpy(before.up))
            for k, column in enumerate(self.columns):
                if column.name in known:
                    self.weight[k] = torch.from_numpy(before.weight[known[column.name]])
                    self.bias[k] = float(before.bias[known[column.name]])

    def vectors(self, cases: Sequence[Seen], organs: Sequence[str]) -> Tensor:
        """(B, K, D) features of cases under one structure each column, through the last stage where it is learned."""
        if self.stage is None:
            picked = [[case.vector(organ) for organ in organs] for case in cases]
            return torch.from_numpy(np.asarray(picked, dtype=np.float32))
        maps = torch.stack([torch.from_numpy(case.map().astype(np.float32)) for case in cases])
        last = self.stage(maps).permute(0, 1, 3, 4, 2).flatten(2)  # (B, D, x·y·z)
        cells = np.stack([[case.cells_of(organ) for organ in organs] for case in cases])
        return torch.einsum("bdn,bkn->bkd", last.float(), torch.from_numpy(cells.astype(np.float32)))

    def whitened(self, cases: Sequence[Seen]) -> Tensor:
        """(B, 1 + K, R): the whole scan, then the structure of each column."""
        organs = ["", *(cases[0].organ_of(site) for site in self.sites)]
        organs_of = [["", *(case.organ_of(site) for site in self.sites)] for case in cases]
        if any(row != organs for row in organs_of):  # structures differ: scan by scan
            return torch.cat(
                [self._white(self.vectors([c], row), row) for c, row in zip(cases, organs_of, strict=True)]
            )
        return self._white(self.vectors(cases, organs), organs)

    def _white(self, vectors: Tensor, organs: Sequence[str]) -> Tensor:
        means = np.stack([self.space.means.get(organ, self.space.means[""]) for organ in organs])
        return (vectors - torch.from_numpy(means.astype(np.float32))) @ self.directions.T / self.scale

    def scores(self, white: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 1 + K, R) -> scans among words (B, 384), heads (B, K), nearness to the words of each column (B, K)."""
        shared = functional.normalize(white @ self.up.T, dim=-1)
        heads = (white[:, 1:] * self.weight).sum(dim=-1) + self.bias
        said = (shared[:, 1:] * functional.normalize(self.asked, dim=-1)).sum(dim=-1)
        return shared[:, 0], heads, said

    def adapter(self, name: str, command: str, trained_on: str, farthest: float) -> Adapter:
        """What was learned, as it is kept."""
        heads = tuple(Head(column=c.name, findings=c.findings) for c in self.columns)
        plain = {n: p.detach().cpu().numpy().astype(np.float32) for n, p in self.named_parameters()}
        return Adapter(
            name=name, base=self.space.base, means=self.space.means, directions=self.space.directions,
            scale=self.space.scale, up=plain["up"], weight=plain["weight"], bias=plain["bias"], heads=heads,
            farthest=farthest, trained_on=trained_on, command=command, rank=self.recipe.rank if self.stage else 0,
            lora=lora_parts(self.stage) if self.stage else {},
        )  # fmt: skip


def with_lora(stage: nn.Module, rank: int) -> nn.Module:
    """A float32 copy of the last stage, frozen, with LoRA parts in its convolutions."""
    from peft import LoraConfig, inject_adapter_in_model

    own = copy.deepcopy(stage).float().requires_grad_(False)
    targets = [n for n, part in own.named_modules() if isinstance(part, nn.Conv3d) and "downsample" not in n]
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets)  # alpha / r = 1: nothing to remember
    made: nn.Module = inject_adapter_in_model(config, own)
    return made


def lora_parts(stage: nn.Module) -> dict[str, NDArray[np.float32]]:
    """ "0.conv1.A" (r, in·k³) and "0.conv1.B" (out, r) of every convolution, as matrices."""
    found = {}
    for name, value in stage.state_dict().items():
        if ".lora_" in name:
            layer, _, which = name.partition(".lora_")
            found[f"{layer}.{which[0]}"] = value.flatten(1).float().cpu().numpy()
    return found


def fit(learner: Learner, cases: Sequence[Seen], recipe: Recipe, folder: Path | None, say: Say) -> None:
    """Everything on kept features first, then with the last stage, where there is a rank."""
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision="no")
    stage, learner.stage = learner.stage, None
    light = [p for n, p in learner.named_parameters() if not n.startswith("stage")]
    first = torch.optim.AdamW(light, lr=recipe.rate, weight_decay=recipe.decay)
    with torch.no_grad():
        white = learner.whitened(cases)
    asked = asked_of(learner.columns, cases)
    for _ in range(recipe.steps):
        first.zero_grad()
        accelerator.backward(loss_of(learner, white, asked))
        first.step()
    learner.stage = stage
    if stage is None:
        return
    parts = [p for n, p in learner.named_parameters() if p.requires_grad and n.startswith("stage")]
    optimiser = torch.optim.AdamW(
        [{"params": parts, "lr": recipe.lora_rate}, {"params": light, "lr": recipe.rate / 10}],
        weight_decay=recipe.decay,
    )
    model, optimiser = accelerator.prepare(learner, optimiser)
    own = run_of(learner, cases, recipe)
    begin = _resumed(accelerator, folder, own)
    for epoch in range(begin, recipe.epochs):
        order = np.random.default_rng([recipe.seed, epoch]).permutation(len(cases))
        total = 0.0
        for low in range(0, len(order), recipe.batch):
            batch = [cases[n] for n in order[low : low + recipe.batch]]
            optimiser.zero_grad()
            loss = loss_of(accelerator.unwrap_model(model), learner.whitened(batch), asked_of(learner.columns, batch))
            accelerator.backward(loss)
            optimiser.step()
            total += float(loss.detach()) * len(batch)
        say(f"epoch {epoch + 1} of {recipe.epochs}: loss {total / len(order):.3f}")
        if folder is not None:
            accelerator.save_state(str(folder / "state"))
            (folder / "epoch.json").write_text(json.dumps({"done": epoch + 1, "run": own}))


def run_of(learner: Learner, cases: Sequence[Seen], recipe: Recipe) -> str:
    """What a stopped run must share with this one to be gone on with: data, encoder, columns, all but the epochs."""
    told = [
        asdict(replace(recipe, epochs=0)), learner.space.base, learner.space.sha256, [c.name for c in learner.columns],
        [[case.patient, dict(case.labels), case.vectors[""].tolist()] for case in cases],
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _resumed(accelerator: object, folder: Path | None, own: str) -> int:
    """Load the state of a run that was killed; the epoch to go on with."""
    mark = None if folder is None else folder / "epoch.json"
    if mark is None or folder is None or not mark.is_file():
        return 0
    told = json.loads(mark.read_text())
    if told.get("run") != own:
        raise UsageError(
            f"E_USAGE: {folder.name} holds a stopped run of other data or options. Give the same, or another --out."
        )
    accelerator.load_state(str(folder / "state"))  # type: ignore[attr-defined]
    return int(told["done"])


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What some cases are asked: truths and their weights (B, K); reports (N, 384), whose they are, their agreement."""

    truth: Tensor
    weight: Tensor
    text: Tensor
    rows: Tensor
    same: Tensor


def asked_of(columns: Sequence[Column], cases: Sequence[Seen]) -> Asked:
    """What is known of cases; what is not known weighs nothing, and with and without weigh the same in all."""
    table = torch.tensor([[c.labels.get(column.name, -1) for column in columns] for c in cases], dtype=torch.float32)
    truth, known = table.clamp(min=0), (table >= 0).float()
    share = (truth * known).sum(dim=0) / known.sum(dim=0).clamp(min=1)
    weight = torch.where(truth > 0, 0.5 / share.clamp(min=0.02), 0.5 / (1 - share).clamp(min=0.02)) * known
    rows = [n for n, case in enumerate(cases) if case.report is not None]
    text = np.array([cases[n].report for n in rows], dtype=np.float32)
    return Asked(
        truth=truth, weight=weight, text=torch.from_numpy(text), rows=torch.tensor(rows, dtype=torch.long),
        same=agreement([cases[n] for n in rows]) if rows else torch.zeros(0, 0),
    )  # fmt: skip


def loss_of(learner: Learner, white: Tensor, asked: Asked) -> Tensor:
    """Heads, words of findings and words of reports."""
    whole, heads, said = learner.scores(white)
    total = _asked(heads, asked.truth, asked.weight) + RIDGE * (learner.weight**2).sum(dim=1).mean()
    by_words = learner.sharp.exp() * said + learner.shift
    total = total + learner.recipe.words * _asked(by_words, asked.truth, asked.weight)
    if len(asked.rows) > 1:
        nearness = learner.sharp.exp() * whole[asked.rows] @ asked.text.T
        total = total + learner.recipe.words * contrast(nearness, asked.same)
    return total


def _asked(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    loss = functional.binary_cross_entropy_with_logits(logits, truth, weight, reduction="sum")
    return loss / weight.sum().clamp(min=1e-6)


def _farthest(space: Adapter, cases: Sequence[Seen]) -> float:
    return FAR * max(space.distance(case.embedding()) for case in cases)


def head_scores(learner: Learner, cases: Sequence[Seen]) -> NDArray[np.float64]:
    """(N, K) scores of the heads."""
    if not cases:
        return np.zeros((0, len(learner.columns)))
    with torch.no_grad():
        rows = [learner.scores(learner.whitened([case]))[1] for case in cases]
    return np.asarray(torch.cat(rows).numpy(), dtype=np.float64)


def _known(column: Column, cases: Sequence[Seen]) -> list[int]:
    return [n for n, case in enumerate(cases) if column.name in case.labels]


def _calibrated(adapter: Adapter, learner: Learner, cases: Sequence[Seen]) -> Adapter:
    """Each head with its calibration on the patients of the tuning part, or why it has none."""
    scores = head_scores(learner, cases)
    heads = []
    for k, (head, column) in enumerate(zip(adapter.heads, learner.columns, strict=True)):
        rows = _known(column, cases)
        made = calibrate(
            scores[rows, k], [cases[n].labels[column.name] for n in rows], [cases[n].patient for n in rows],
            column=column.name, score="heads", identity=adapter.base, cohort=adapter.trained_on,
        )  # fmt: skip
        heads.append(replace(head, why=made) if isinstance(made, str) else replace(head, calibration=made))
    return replace(adapter, heads=tuple(heads))


def _row(
    column: Column, scored: NDArray[np.float64], cases: Sequence[Seen], before: Adapter | None
) -> Mapping[str, object]:
    """A column on patients that took no part: AUROC with its interval, with shuffled scans, and before."""
    rows = _known(column, cases)
    truth = np.array([cases[n].labels[column.name] for n in rows], dtype=int)
    scores = scored[rows]
    who = np.array([cases[n].patient for n in rows])
    drawn = [auroc(scores[i], truth[i]) for i in resampled(who)] if rows else []
    drawn = [value for value in drawn if value == value]
    low, high = np.percentile(drawn, (2.5, 97.5)) if drawn else (float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    shuffled = float(np.mean([auroc(rng.permutation(scores), truth) for _ in range(50)])) if rows else float("nan")
    held = None if before is None else next((h for h in before.heads if h.column == column.name), None)
    old = None
    if held is not None and before is not None and rows:
        old = auroc(np.array([before.logits(cases[n].embedding())[column.name] for n in rows]), truth)
    return {
        "column": column.name, "positives": int(truth.sum()), "cases": len(rows), "auroc": auroc(scores, truth),
        "low": float(low), "high": float(high), "shuffled": shuffled, "before": old,
    }  # fmt: skip
