"""What heads of the image alone are worth on synthetic bodies, each scored by an adapter that never saw it.

    tomoscribe phantom out/train --cohort 64 --split train --spacing 1.5 1.5 2.5
    python -m benchmarks.crossed --data out/train [--write-docs]

Patients are cut into five parts; each part is scored by heads that the four others taught, and its probabilities come
from a calibration on the scores of the four others. Printed: macro AUROC of heads, of the words of each finding, of
words never used in training (the vocabulary's lay words), and of heads taught on images that were dealt out anew
among the patients; ECE and Brier score. Scans go through the encoder once and are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from app.studies import find_studies
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.ct.read import read
from vlm.encoder import Encoder, load_encoder
from vlm.encoder.calibration import auroc, expected_error, platt, resampled
from vlm.encoder.embedding import Embedding, embeddings_folder
from vlm.encoder.minilm import minilm
from vlm.encoder.zeroshot import prompts
from vlm.findings.labels import columns_of, labels_of
from vlm.findings.packs import Column, load_pack
from vlm.findings.vocabulary import load_vocabulary
from vlm.train.align import Learner, Recipe, fit, learnable, space_of
from vlm.train.maps import Seen, said, seen
from vlm.train.pairs import Pair

FOLDS, LEAST = 5, 5
RECIPE = Recipe(rank=0)
Floats = NDArray[np.float64]
WAYS = ("heads", "words of the finding", "lay words, never trained on", "heads, images dealt out anew")


def _known(pair: Pair, identity: str) -> Seen | None:
    """A scan as it was encoded before, its structures as they were outlined then; None where it was not."""
    path = embeddings_folder() / f"{read(pair.scan).volume.sha256}-{identity}.npz"
    if not path.is_file():
        return None
    told = Embedding.load(path)
    return Seen(
        patient=pair.patient, labels=pair.labels, vectors={"": told.vector, **told.organs}, report=said(pair.text)
    )


def _encoded(pair: Pair, encoder: Encoder) -> Iterator[Seen]:
    return seen([pair], encoder, embeddings_folder(), maps=False, say=print)


def scored(cases: Sequence[Seen], columns: Sequence[Column], base: str) -> dict[str, Floats]:
    """Way -> (N, K) scores, each case by a learner that never saw its patient."""
    out = {way: np.full((len(cases), len(columns)), np.nan) for way in WAYS}
    order = np.random.default_rng(0).permutation(len(cases))
    dealt = np.random.default_rng(1).permutation(len(cases))
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        taught = [cases[n] for n in np.setdiff1d(order, held)]
        mixed = [_with_image(cases[n], cases[dealt[n]]) for n in np.setdiff1d(order, held)]
        known = [k for k, column in enumerate(columns) if learnable(column, taught)]
        learner = _taught(taught, [columns[k] for k in known], base)
        blind = _taught(mixed, [columns[k] for k in known], base)
        own, unseen = learner.asked, _paraphrased(learner)
        for n in held:
            with torch.no_grad():
                white = learner.whitened([cases[n]])
                _, heads, words = learner.scores(white)
                learner.asked = unseen
                _, _, lay = learner.scores(white)
                learner.asked = own
                told = (heads, words, lay, blind.scores(blind.whitened([cases[n]]))[1])
            for way, row in zip(WAYS, told, strict=True):
                out[way][n, known] = row[0].numpy()
    return out


def _with_image(case: Seen, other: Seen) -> Seen:
    """What is known of one patient, with the image of another."""
    return Seen(patient=case.patient, labels=case.labels, vectors=other.vectors, report=case.report)


def _taught(cases: Sequence[Seen], columns: Sequence[Column], base: str) -> Learner:
    torch.manual_seed(RECIPE.seed)
    space = space_of(cases, name="crossed", base=base, command="", trained_on="")
    learner = Learner(space, columns, None, RECIPE, None)
    fit(learner, cases, RECIPE, None, lambda _: None)
    return learner


def _paraphrased(learner: Learner) -> torch.Tensor:
    """(K, 384) of patients' words for each finding, which no loss has seen; its own where it has none."""
    rows = []
    for column, own in zip(learner.columns, learner.asked, strict=True):
        lay = load_vocabulary().finding(column.findings[0]).lay
        asked = np.subtract(*prompts(minilm(), lay, tuple(f"no {words}" for words in lay))) if lay else own.numpy()
        rows.append(np.asarray(asked, dtype=np.float32))
    return torch.from_numpy(np.stack(rows))


def truths(cases: Sequence[Seen], columns: Sequence[Column]) -> NDArray[np.int_]:
    """(N, K) 0, 1, or -1 where nobody knows."""
    return np.array([[case.labels.get(column.name, -1) for column in columns] for case in cases])


def macro(scores: Floats, truth: NDArray[np.int_], rows: NDArray[np.intp]) -> float:
    """Mean AUROC over columns with enough patients of either kind."""
    values = []
    for k in range(truth.shape[1]):
        own = rows[(truth[rows, k] >= 0) & np.isfinite(scores[rows, k])]
        if min((truth[own, k] == 1).sum(), (truth[own, k] == 0).sum()) >= LEAST:
            values.append(auroc(scores[own, k], truth[own, k]))
    return float(np.mean(values)) if values else float("nan")


def chances(scores: Floats, truth: NDArray[np.int_]) -> tuple[Floats, NDArray[np.int_]]:
    """Probabilities and truths of every case and column, calibrated on the patients of the other parts."""
    order = np.random.default_rng(0).permutation(len(scores))
    told, held_truth = [], []
    for k in range(truth.shape[1]):
        fits = (truth[:, k] >= 0) & np.isfinite(scores[:, k])
        for fold in range(FOLDS):
            held = order[fold::FOLDS]
            own = np.setdiff1d(np.flatnonzero(fits), held)
            if min((truth[own, k] == 1).sum(), (truth[own, k] == 0).sum()) < LEAST:
                continue
            slope, intercept = platt(scores[own, k], truth[own, k])
            asked = held[fits[held]]
            told.append(expit(slope * scores[asked, k] + intercept))
            held_truth.append(truth[asked, k])
    return np.concatenate(told), np.concatenate(held_truth)


def table(
    scores: dict[str, Floats], truth: NDArray[np.int_], patients: Sequence[str], columns: Sequence[Column]
) -> str:
    """The ways as rows of Markdown, then columns of the heads, then calibration."""
    lines = ["| image alone | macro AUROC (95 %) |", "|---|---|"]
    every, draws = np.arange(len(patients)), resampled(np.array(patients), 200)
    for way in WAYS:
        low, high = np.nanpercentile([macro(scores[way], truth, rows) for rows in draws], (2.5, 97.5))
        lines.append(f"| {way} | {macro(scores[way], truth, every):.3f} ({low:.3f}-{high:.3f}) |")
    lines += ["| the same for everybody | 0.500 |", "", "| heads | with it | AUROC (95 %) |", "|---|---|---|"]
    for k, column in enumerate(columns):
        own, head, only = np.flatnonzero(truth[:, k] >= 0), scores["heads"][:, [k]], truth[:, [k]]
        if not np.isfinite(value := macro(head, only, own)):
            continue
        low, high = np.nanpercentile([macro(head, only, rows) for rows in draws], (2.5, 97.5))
        lines.append(
            f"| {column.name} | {(truth[:, k] == 1).sum()} of {len(own)} | {value:.2f} ({low:.2f}-{high:.2f}) |"
        )
    chance, truly = chances(scores["heads"], truth)
    brier, plain = float(((chance - truly) ** 2).mean()), float(truly.mean() * (1 - truly.mean()))
    lines += ["", f"{len(chance)} probabilities of heads: ECE {expected_error(chance, truly):.3f}, Brier {brier:.3f} "
                  f"(prevalence for everybody: {plain:.3f})."]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Teach, score, print, and with --write-docs put the tables into their page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pack", default="ct-rate-18")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    pack, encoder = load_pack(options.pack), load_encoder()
    pairs = [
        Pair(patient=s.patient, scan=s.volume, text=s.text, labels=labels_of(s.text, s.labels, [pack]))
        for s in find_studies(options.data)
        if s.volume is not None
    ]
    cases = [_known(pair, str(encoder.identity)) or next(_encoded(pair, encoder)) for pair in pairs]
    columns = columns_of([pack])
    text = table(
        scored(cases, columns, str(encoder.identity)), truths(cases, columns), [case.patient for case in cases], columns
    )
    text += f"\n\n{len(cases)} synthetic bodies. {stamp(f'python -m benchmarks.crossed --data {options.data.name}')}"
    print(text)
    if options.write_docs:
        write_section(Path(ROOT / "docs" / "encoder.md"), "crossed", text)


if __name__ == "__main__":
    main()
