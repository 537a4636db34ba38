"""``tomoscribe adapt``: studies of any layout become pairs, pairs an adapter, and what it is worth is told."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from math import isnan
from pathlib import Path
from typing import Any

from app.export.place import check_folder
from app.studies import find_studies
from vlm.encoder import Encoder, load_encoder
from vlm.encoder.adapter import load_adapter
from vlm.encoder.embedding import embeddings_folder
from vlm.encoder.weights import WeightsError
from vlm.errors import UsageError, shown
from vlm.findings.labels import columns_of, labels_of
from vlm.findings.packs import load_pack
from vlm.train.pairs import Pair, check


def adapt_to(
    data: Path, out: Path, *, rank: int, packs: Sequence[str], base: Encoder | None, start: Path | None, epochs: int,
    force: bool, say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Train an adapter on a folder, and write it unless it forgot what was known.

    Raises:
        UsageError: nothing can be learned from the data, or a finding known before got worse.
        WeightsError: the encoder or the adapter cannot be loaded, or do not fit.
    """
    missing = [name for name in ("torch", "peft", "accelerate") if find_spec(name) is None]
    if missing:
        raise WeightsError(f"E_TRAIN: {', '.join(missing)} not installed. pip install tomoscribe[train]")
    from vlm.train.align import MOST_LOST, Recipe, align
    from vlm.train.maps import seen

    if rank < 0 or epochs < 1:
        raise UsageError(f"E_USAGE: --rank is {rank} and --epochs {epochs}, expected at least 0 and 1.")
    running = out.with_suffix(".running")
    if out.is_dir():
        raise UsageError(f"E_USAGE: --out {shown(out.name)} is a folder, expected a file to write.")
    check_folder(running)
    chosen = [load_pack(name) for name in packs]
    pairs = [
        Pair(patient=s.patient, scan=s.volume, text=s.text, labels=labels_of(s.text, s.labels, chosen))
        for s in find_studies(data)
        if s.volume is not None and (s.text or s.labels)
    ]
    check(pairs)
    encoder = base or load_encoder()
    before = None if start is None else load_adapter(start)
    if before is not None and before.base != str(encoder.identity):
        raise UsageError(f"E_USAGE: --from was trained on {before.base}, found {encoder.identity}.")
    stage = getattr(getattr(encoder, "tower", None), "layer4", None) if rank else None
    if rank and stage is None:
        raise UsageError(f"E_USAGE: {encoder.identity} takes no LoRA, expected astra or merlin. Use --rank 0.")
    folder = embeddings_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    cases = list(seen(pairs, encoder, folder, maps=bool(rank), say=say))
    running.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["tomoscribe", "adapt", "--data", data.name, "--rank", str(rank),
                          *(word for name in packs for word in ("--pack", name)), "--epochs", str(epochs)])  # fmt: skip
    patients = len({case.patient for case in cases})
    made = align(
        cases, columns_of(chosen), str(encoder.identity), Recipe(rank=rank, epochs=epochs), name=out.stem,
        command=command, trained_on=f"{len(cases)} scans of {patients} patients in {data.name}", stage=stage,
        before=before, folder=running, say=say,
    )  # fmt: skip
    told: dict[str, Any] = {
        "command": command, "rows": [_known(row) for row in made.rows], "lost": dict(made.lost),
        "saved": "", "bytes": 0,
        "uncalibrated": {head.column: head.why for head in made.adapter.heads if head.calibration is None},
    }  # fmt: skip
    if made.lost and not force:
        worst = max(made.lost, key=lambda name: made.lost[name])
        raise UsageError(
            f"E_FORGOT: {len(made.lost)} findings known before lost more than {MOST_LOST} AUROC, most {worst} "
            f"({made.lost[worst]:.3f}). Nothing is saved; give more scans of it, a lower --rank, or --force."
        )
    told["bytes"], told["saved"] = made.adapter.save(out), str(out)
    shutil.rmtree(running)  # what is saved needs no going on
    return told


def _known(row: Mapping[str, object]) -> dict[str, object]:
    """A row whose figures that nobody can tell are null, as JSON has it."""
    return {name: None if isinstance(value, float) and isnan(value) else value for name, value in row.items()}
