"""A finding that the encoder was never told of, learned from 100 synthetic chests: the head alone, and with LoRA.

    python -m benchmarks.lora --out out/lora [--whole] [--write-docs]

Each chest holds each finding of PLANTED or not, by chance. An adapter of rank 0 learns all but one of them from 100
chests; two more go on from it (``adapt --from``) and learn that one as well: as a head on frozen features, and with
LoRA parts in the last stage. Measured on chests of other seeds. Structures are those that were drawn, not segmented;
the encoder sees SHAPE of its voxels, at its own spacing, unless ``--whole``. Chests are encoded once and kept.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.stamp import ROOT, stamp, write_section
from vlm.encoder.adapter import Adapter, merged
from vlm.encoder.astra import RECIPE, Astra
from vlm.encoder.calibration import auroc, resampled
from vlm.encoder.embedding import Embedding
from vlm.encoder.protocol import Identity
from vlm.findings.packs import Column, load_pack
from vlm.phantom.chest import Phantom, chest
from vlm.phantom.seeds import Split, seeds
from vlm.train.align import MOST_LOST, Recipe, align
from vlm.train.maps import Seen, seen_in
from vlm.train.pairs import Pair

SHAPE = (224, 160, 80)  # 336 x 240 x 240 mm: a chest without what is above and below it
STRUCTURES = ("lung_left", "lung_right", "heart", "aorta", "liver", "spleen", "stomach")
TAUGHT, HELD = 100, 60  # chests of the training and of the test seeds
FIRST = 5000  # of each: no other benchmark draws these
CHANCE = 0.4
SPACING_MM = (2.0, 2.0, 3.0)
Draw = Callable[[np.random.Generator], dict[str, Any]]
Floats = NDArray[np.float64]


def _side(rng: np.random.Generator) -> str:
    return str(rng.choice(("left", "right")))


def _zone(rng: np.random.Generator) -> str:
    return str(rng.choice(("upper", "middle", "lower")))


PLANTED: dict[str, Draw] = {  # column of the pack -> arguments of the phantom
    "Pleural effusion": lambda rng: {f"effusion_{_side(rng)}_ml": rng.uniform(150, 600)},
    "Emphysema": lambda rng: {"emphysema_fraction": rng.uniform(0.1, 0.3)},
    "Cardiomegaly": lambda rng: {"heart_scale": rng.uniform(1.25, 1.4)},
    "Consolidation": lambda rng: {"consolidation": [(_side(rng), _zone(rng), rng.uniform(30, 120))]},
    "Lung nodule": lambda rng: {
        "nodules": [(_side(rng), _zone(rng), rng.uniform(10, 24), 40.0) for _ in range(rng.integers(1, 4))]
    },
    "Pericardial effusion": lambda rng: {"pericardial_effusion_ml": rng.uniform(150, 400)},
    "Atelectasis": lambda rng: {f"atelectasis_{_side(rng)}_ml": rng.uniform(80, 250)},
    "Mosaic attenuation pattern": lambda rng: {"mosaic_hu": rng.uniform(60, 140)},
    "Pneumothorax": lambda rng: {f"pneumothorax_{_side(rng)}_ml": rng.uniform(200, 800)},
}
NEW = ("Pneumothorax", "Pleural effusion", "Consolidation")  # each in turn, the others being known
COLUMNS = (
    *(column for column in load_pack("ct-rate-18").columns if column.name in PLANTED),
    Column(name="Pneumothorax", findings=("pneumothorax",), without=(), uncertain="negative", history=False),
)
RECIPE_OF = Recipe(rank=8)  # as ``adapt`` has it


class Cropped(Astra):
    """The embedded encoder on less of a scan; its vectors are its own."""

    recipe = replace(RECIPE, key="merlin-cropped", shape=SHAPE)
    identity = Identity(encoder="astra", weights=Astra.identity.weights, recipe="merlin-cropped")


@dataclass(frozen=True, kw_only=True)
class Learned:
    """One adapter on the chests of other seeds."""

    scores: Floats  # (N, K) of its heads; NaN where it has none
    adapter: Adapter
    lost: Mapping[str, float]  # what the gate of ``adapt`` saw on chests of its own
    seconds: float  # of a processor


def drawn(seed: int) -> tuple[Phantom, dict[str, int]]:
    """A chest and what was planted in it."""
    rng = np.random.default_rng([seed, 41])
    truth = {name: int(rng.random() < CHANCE) for name in PLANTED}
    asked: dict[str, Any] = {}
    for name, draw in PLANTED.items():
        given = draw(rng)  # drawn for all: what one holds does not change the other
        asked |= given if truth[name] else {}
    return chest(seed=seed, spacing_mm=SPACING_MM, **asked), truth


def chests(split: Split, count: int, encoder: Astra, folder: Path) -> list[Seen]:
    """The first chests of a part that can be drawn: lungs that much air and fluid fill have no room for bronchi."""
    found: list[Seen] = []
    for seed in seeds(split, 2 * count, first=FIRST):
        try:
            found.append(encoded(seed, encoder, folder))
        except ValueError as error:
            print(f"seed {seed}: {error}", flush=True)
        if len(found) == count:
            break
    return found


def encoded(seed: int, encoder: Astra, folder: Path) -> Seen:
    """A chest through the encoder, from what was kept where it went before."""
    told = folder / f"{seed}-{encoder.identity}.json"
    if not told.is_file():
        begun = time.process_time()
        phantom, truth = drawn(seed)
        masks = [phantom.masks[name] for name in STRUCTURES if name in phantom.masks]
        made = seen_in(
            phantom.volume, masks, Pair(patient=str(seed), scan=Path(), labels=truth), encoder, folder, maps=True
        )
        row = {"scan": phantom.volume.sha256, "labels": truth, "seconds": time.process_time() - begun}
        told.write_text(json.dumps(row), encoding="utf-8")
        return made
    row = json.loads(told.read_text(encoding="utf-8"))
    vectors = Embedding.load(folder / f"{row['scan']}-{encoder.identity}.npz")
    kept = folder / f"{row['scan']}-{encoder.identity}-map.npz"
    with np.load(kept, allow_pickle=False) as file:
        cells = {name.removeprefix("cells:"): file[name] for name in file.files if name != "map"}
    return Seen(
        patient=str(seed), labels=row["labels"], vectors={"": vectors.vector, **vectors.organs}, kept=kept, cells=cells
    )


def adapted(case: Seen, stage: torch.nn.Module | None) -> Embedding:
    """A chest as an adapter's last stage sees it."""
    if stage is None:
        return case.embedding()
    with torch.inference_mode():
        before = torch.from_numpy(case.map())[None].to(next(stage.parameters()).dtype)
        last = stage(before)[0].permute(0, 2, 3, 1).float().flatten(1).numpy()
    vectors = {name: last @ case.cells_of(name).astype(np.float32) for name in case.vectors}
    return replace(case.embedding(), vector=vectors.pop(""), organs=vectors)


def learned(
    cases: Sequence[Seen], held: Sequence[Seen], columns: Sequence[Column], encoder: Astra, rank: int,
    before: Adapter | None = None,
) -> Learned:  # fmt: skip
    """Adapt on some chests, and score the others."""
    begun = time.process_time()
    stage = encoder.tower.layer4 if rank else None
    result = align(
        cases, columns, str(encoder.identity), replace(RECIPE_OF, rank=rank), name=f"rank{rank}",
        command="python -m benchmarks.lora", trained_on=f"{len(cases)} synthetic chests", stage=stage, before=before,
        say=print,
    )  # fmt: skip
    spent = time.process_time() - begun
    last = merged(encoder.tower.layer4, result.adapter) if rank else None
    scored = [result.adapter.logits(adapted(case, last)) for case in held]
    return Learned(
        scores=np.array([[row.get(column.name, np.nan) for column in COLUMNS] for row in scored]),
        adapter=result.adapter, lost=result.lost, seconds=spent,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One finding as the new one: the adapter before, and the two that go on from it."""

    new: str
    before: Learned
    head: Learned
    lora: Learned


def turn(new: str, taught: Sequence[Seen], held: Sequence[Seen], encoder: Astra) -> Turn:
    """Learn all findings but one, then that one."""
    known = [column for column in COLUMNS if column.name != new]
    before = learned(taught, held, known, encoder, 0)
    head = learned(taught, held, COLUMNS, encoder, 0, before.adapter)
    return Turn(
        new=new, before=before, head=head, lora=learned(taught, held, COLUMNS, encoder, RECIPE_OF.rank, before.adapter)
    )


def table(turns: Sequence[Turn], truth: NDArray[np.int_]) -> list[str]:
    """Each new finding by either adapter, then what the first turn lost of the findings known before."""
    names, draws = [column.name for column in COLUMNS], resampled(np.arange(len(truth)))
    mixed = [np.random.default_rng(n).permutation(len(truth)) for n in range(50)]
    lines = ["| new finding | with it | a head on frozen features | LoRA | LoRA, images dealt out anew | gate |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for one in turns:
        k = names.index(one.new)
        blind = np.mean([auroc(one.lora.scores[order, k], truth[:, k]) for order in mixed])
        gate = ", ".join(f"{name} -{lost:.3f}" for name, lost in one.lora.lost.items())
        cells = " | ".join(_interval(told.scores[:, k], truth[:, k], draws) for told in (one.head, one.lora))
        lines.append(
            f"| {one.new} | {truth[:, k].sum()} of {len(truth)} | {cells} | {blind:.2f} | {gate or 'passes'} |"
        )
    lines += ["", f"| known before {turns[0].new} | with it | before | with its head | LoRA | lost by LoRA (95 %) |",
              "|---|---|---|---|---|---|"]  # fmt: skip
    return lines + _forgotten(turns[0], truth, draws)


def _forgotten(one: Turn, truth: NDArray[np.int_], draws: Sequence[NDArray[np.intp]]) -> list[str]:
    lines = []
    for k, column in enumerate(COLUMNS):
        if column.name == one.new:
            continue
        ways = [told.scores[:, k] for told in (one.before, one.head, one.lora)]
        apart = [auroc(ways[0][i], truth[i, k]) - auroc(ways[2][i], truth[i, k]) for i in draws]
        low, high = np.nanpercentile(apart, (2.5, 97.5))
        values = [auroc(way, truth[:, k]) for way in ways]
        cells = " | ".join(f"{value:.3f}" for value in values)
        lost = f"{values[0] - values[2]:+.3f} ({low:+.3f} to {high:+.3f})"
        lines.append(f"| {column.name} | {truth[:, k].sum()} | {cells} | {lost} |")
    return lines


def _interval(scores: Floats, truth: NDArray[np.int_], draws: Sequence[NDArray[np.intp]]) -> str:
    low, high = np.nanpercentile([auroc(scores[rows], truth[rows]) for rows in draws], (2.5, 97.5))
    return f"{auroc(scores, truth):.3f} ({low:.3f}-{high:.3f})"


def main() -> None:
    """Draw, encode, adapt, measure; print, and with --write-docs put the tables into their page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--whole", action="store_true", help="all that the encoder sees of a scan: four times as long")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    encoder = Astra() if options.whole else Cropped()
    options.out.mkdir(parents=True, exist_ok=True)
    taught = chests("train", TAUGHT, encoder, options.out)
    held = chests("test", HELD, encoder, options.out)
    turns = [turn(new, taught, held, encoder) for new in NEW]
    lines = table(turns, np.array([[case.labels[column.name] for column in COLUMNS] for case in held]))
    told = [json.loads(path.read_text(encoding="utf-8")) for path in options.out.glob(f"*-{encoder.identity}.json")]
    spent = [float(row["seconds"]) for row in told if "seconds" in row]
    lines += [
        "",
        f"{TAUGHT} synthetic chests taught (70 % to learn from, the rest to calibrate and for the gate of "
        f"{MOST_LOST}), {HELD} of other seeds measured. Time of one processor: {np.mean(spent):.1f} s a chest to draw "
        f"and encode, {turns[0].head.seconds:.0f} s for a head, {turns[0].lora.seconds:.0f} s for LoRA of rank "
        f"{RECIPE_OF.rank} ({RECIPE_OF.epochs} epochs).",
        "",
        stamp("python -m benchmarks.lora" + (" --whole" if options.whole else "")),
    ]
    print("\n".join(lines))
    if options.write_docs:
        write_section(ROOT / "docs" / "encoder.md", "lora", "\n".join(lines))


if __name__ == "__main__":
    main()
