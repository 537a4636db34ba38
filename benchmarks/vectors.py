"""Whether a scan's vector finds its own altered copies among other patients' scans.

    python -m benchmarks.vectors [--only NAME ...] [--copies COPY ...] [--library DIR] [--write-docs]

Each shared scan is altered four ways and embedded; the copy is compared with all originals. Statistics are fitted
on the originals of other patients only; with --library also once on the scans of a case library, such as one filled
from a cohort of synthetic bodies by ``tomoscribe index add COHORT --encode``. Beside the whitened vectors stand raw
cosine, centring alone, and chance. Vectors are kept below benchmarks/out, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.encoding import IMAGE_SPACE
from benchmarks.real_scans import SHARED
from benchmarks.stamp import ROOT, stamp, write_section
from retrieval.caches import decoded
from retrieval.library import CaseLibrary
from vlm.ct.read import read
from vlm.ct.volume import Volume
from vlm.encoder import Encoder, Statistics, fit, load_encoder, prepare
from vlm.encoder.whitening import shipped
from vlm.train.copies import clipped, cut, noisy, thick

Vector = NDArray[np.float32]
OUT = ROOT / "benchmarks" / "out" / "vectors"
SAME_PATIENT = "acrin-flt-breast-001"  # three scans: never another patient's
ABDOMEN = frozenset(
    {"totalseg-abdomen-3mm", "cptac-pda-00189", "acrin-flt-breast-001-day4-abdomen", "totalseg-dicom-j2k"}
)
NOISE_HU, THICK_MM, KEPT, CLIP_HU = 40.0, 5.0, (0.15, 0.85), 400


COPIES: Mapping[str, Callable[[Volume], Volume]] = {
    "noise of 40 HU": lambda volume: noisy(volume, NOISE_HU),
    "70 % of the slices": lambda volume: cut(volume, *KEPT),
    "slices of 5 mm": lambda volume: thick(volume, THICK_MM),
    "clipped at 400 HU": lambda volume: clipped(volume, CLIP_HU),
}  # fmt: skip


def vector(name: str, how: str, encoder: Callable[[], Encoder]) -> Vector:
    """(D,) raw pooled vector of a scan, or of a copy of it; from the cache where it is known."""
    path = OUT / f"{name}__{how.replace(' ', '-') or 'original'}.npy"
    if not path.is_file():
        folder = SHARED / "ct" / name
        volume = read(next(p for p in (folder / "ct.nii.gz", folder / "dicom.zip") if p.is_file())).volume
        loaded = encoder()
        pooled = loaded.features(prepare(COPIES[how](volume) if how else volume, loaded.recipe)).pooled
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, pooled)
        print(name, how or "original", flush=True)
    kept: Vector = np.load(path, allow_pickle=False)
    return kept


def patient(name: str) -> str:
    """Which patient a scan is of."""
    return SAME_PATIENT if name.startswith(SAME_PATIENT) else name


def unit(vectors: Vector) -> Vector:
    """Vectors of length one."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def ways(others: Vector, elsewhere: Statistics | None) -> dict[str, Callable[[Vector], Vector]]:
    """How vectors can be made comparable, with what is known of other patients' scans, or of scans from elsewhere."""
    statistics, mean = fit(others, "benchmark"), others.mean(axis=0)
    known: dict[str, Callable[[Vector], Vector]] = {
        "raw cosine": unit,
        "centred": lambda vectors: unit(vectors - mean),
        "centred and whitened": lambda vectors: statistics.apply(vectors, "benchmark"),
    }
    if (apart := shipped(IMAGE_SPACE)) is not None:
        known[f"as shipped: copies of {apart.count} synthetic bodies"] = lambda vectors: apart.apply(
            vectors, IMAGE_SPACE
        )
    if elsewhere is not None:
        name = f"centred and whitened by {elsewhere.count} scans of the library"
        known[name] = lambda vectors: elsewhere.apply(vectors, elsewhere.identity)
    return known


def statistics_of(folder: Path) -> Statistics:
    """Of the scans of a case library that were encoded as these are."""
    library = CaseLibrary(folder, make=False)
    query = "select body from vectors where kind = 'scan' and space = ?"
    rows = library.tables.rows(query, (IMAGE_SPACE,))
    library.close()
    return fit(np.stack([decoded(IMAGE_SPACE, row["body"]) for row in rows]), IMAGE_SPACE)


def main() -> None:
    """Embed, compare, print, and with --write-docs put the table into its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--copies", nargs="*", choices=COPIES, default=list(COPIES))
    parser.add_argument("--library", type=Path)
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    listed = json.loads((SHARED / "ct" / "findings.json").read_text(encoding="utf-8"))
    folders = {p.name for p in (SHARED / "ct").glob("*/")}
    names = [n for n in sorted(folders | set(listed)) if n in folders and (not options.only or n in options.only)]
    originals = {name: vector(name, "", load_encoder) for name in names}
    elsewhere = None if options.library is None else statistics_of(options.library)
    first: dict[str, dict[str, list[bool]]] = {}
    apart: dict[str, list[tuple[bool, float]]] = {}
    for name in names:
        others = [other for other in names if patient(other) != patient(name)]
        rest = np.stack([originals[other] for other in others])
        for way, comparable in ways(rest, elsewhere).items():
            gallery = comparable(np.stack([originals[name], *rest]))
            for how in options.copies:
                alike = gallery @ comparable(vector(name, how, load_encoder))
                first.setdefault(way, {}).setdefault(how, []).append(bool(alike[0] >= alike[1:].max()))
            pairs = gallery[1:] @ gallery[0]
            region = [(name in ABDOMEN) == (other in ABDOMEN) for other in others]
            apart.setdefault(way, []).extend(zip(region, pairs.tolist(), strict=True))
    lines = [
        "| vectors | " + " | ".join(options.copies) + " | all | same region above another |",
        "|---" * (len(options.copies) + 3) + "|",
    ]
    for way, by_copy in first.items():
        every = [hit for hits in by_copy.values() for hit in hits]
        cells = [f"{sum(hits)} of {len(hits)}" for hits in (*by_copy.values(), every)]
        lines.append(f"| {way} | {' | '.join(cells)} | {_auroc(apart[way]):.2f} |")
    lines.append("| chance | " + " | ".join(["1 in 13 to 15"] * (len(options.copies) + 1)) + " | 0.50 |")
    told = "python -m benchmarks.vectors" + (f" --library {options.library.name}" if options.library else "")
    text = "\n".join(lines) + f"\n\n{len(names)} scans; each copy looks among those of other patients. {stamp(told)}"
    print(text)
    if options.write_docs:
        write_section(Path(ROOT / "docs" / "encoder.md"), "vectors", text)


def _auroc(pairs: list[tuple[bool, float]]) -> float:
    """How often a pair of the same region is more alike than one of two regions."""
    same, other = (np.array([value for kind, value in pairs if kind is wanted]) for wanted in (True, False))
    return float((same[:, None] > other[None]).mean() + 0.5 * (same[:, None] == other[None]).mean())


if __name__ == "__main__":
    main()
