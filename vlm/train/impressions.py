"""Couple the embedded encoder to the embedded language model, on synthetic bodies of the train seeds.

    python -m vlm.train.impressions OUT [--bodies 160] [--tune 30]

Bodies are drawn and encoded (kept in OUT/bodies), the projector is trained alone, then with a LoRA, and the threshold
between "present" and "absent" is the one with the best F1 on the tune seeds. The test seeds take no part. A stopped run
goes on. OUT/coupled is what ``vlm.language.impressions`` loads.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vlm.encoder import load_encoder
from vlm.language import embedded_weights
from vlm.language.embedded import load_weights
from vlm.language.impressions import ASKED, Impressions, question, statement
from vlm.language.projector import Basis, folded, load, save
from vlm.train.couple import Coupled, Coupling, couple
from vlm.train.pictured import Pictured, pictured

FEATURES = 384  # directions of the vectors that are kept
ALONE = Coupling(steps=150, batch=16, rate=2e-3, every=25)
BOTH = replace(ALONE, stage="both", steps=100, rate=1e-3, rank=4, targets=("q_proj", "v_proj"))


def basis_of(bodies: Sequence[Pictured]) -> Basis:
    """Centres and directions of the training bodies' organs."""
    organs = {
        organ: np.stack([one.seen.organs[organ] for one in bodies if organ in one.seen.organs]) for organ in ASKED
    }
    return Basis.of(organs, FEATURES)


def cases_of(bodies: Sequence[Pictured], basis: Basis) -> list[Coupled]:
    """A case an organ of a body: its vector, the statements that are true of it, and their denials."""
    cases = []
    for one in bodies:
        for organ in ASKED.keys() & one.seen.organs.keys():
            told = list(zip(ASKED[organ], one.answers(organ), strict=True))
            cases.append(
                Coupled(
                    patient=str(one.seed), organs=basis.coordinates(organ, one.seen.organs[organ]),
                    question=question(organ), answer=tuple(statement(key, present=there) for key, there in told),
                    instead=tuple(statement(key, present=not there) for key, there in told),
                )
            )  # fmt: skip
    return sorted(cases, key=lambda case: (int(case.patient), case.question))


def best_threshold(scores: Sequence[float], truths: Sequence[bool]) -> float:
    """The threshold of the highest F1, midway between two scores."""
    order = np.argsort(-np.asarray(scores))
    ranked, there = np.asarray(scores)[order], np.asarray(truths)[order]
    hits = np.cumsum(there)
    f1 = 2 * hits / (np.arange(1, len(there) + 1) + there.sum())
    best = int(f1.argmax())
    return float((ranked[best] + ranked[min(best + 1, len(ranked) - 1)]) / 2)


def train(out: Path, bodies: int, tune: int) -> Path:
    """Train both stages and choose the threshold; gives back the folder of what was made."""
    encoder = functools.cache(load_encoder)
    place = out / "bodies"
    place.mkdir(parents=True, exist_ok=True)
    say = functools.partial(print, flush=True)
    seen = list(pictured("train", bodies, encoder, place, say))
    basis = basis_of(seen)
    cases = cases_of(seen, basis)
    note = {"encoder": seen[0].seen.identity, "base": embedded_weights.SHA256, "bodies": bodies}
    stage = out / "projector"
    net, tokenizer = load_weights(embedded_weights.model_folder(), None)
    couple(cases, net, tokenizer, stage, ALONE, basis=basis, note=note)
    net, tokenizer = load_weights(embedded_weights.model_folder(), None)
    couple(cases, net, tokenizer, out / "both", BOTH, start=stage, basis=basis, note=note)
    made = out / "coupled"
    shutil.rmtree(made, ignore_errors=True)
    _tidy(out / "both" / "adapter", made / "adapter")
    weights, _, note = load(out / "both")
    weights, basis = folded(weights, basis)
    save(made, weights, basis, note)
    model = Impressions(made)
    told = [(said.score, one.holds(said.organ, said.finding)) for one in pictured("tune", tune, encoder, place, say)
            for said in model.of(one.seen)]  # fmt: skip
    save(made, weights, basis, note | {"threshold": best_threshold(*zip(*told, strict=True)), "tune": tune})
    return made


def _tidy(adapter: Path, out: Path) -> None:
    """Half precision, and no path of this machine."""
    from safetensors.torch import load_file, save_file

    out.mkdir(parents=True)
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({name: value.half() for name, value in weights.items()}, out / "adapter_model.safetensors")
    config: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "SmolLM2-135M-Instruct"
    (out / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bodies", type=int, default=160)
    parser.add_argument("--tune", type=int, default=30)
    options = parser.parse_args()
    print(train(options.out, options.bodies, options.tune))  # noqa: T201


if __name__ == "__main__":
    main()
