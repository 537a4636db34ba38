"""Synthetic persons with abdominal findings as open cases whose outlines are the truth; each is drawn once a worker."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from vlm.anatomy.engines.labels import given
from vlm.anatomy.engines.protocol import LabelMap
from vlm.anatomy.structures import use
from vlm.evidence import Case
from vlm.phantom.body import NAME, Body, Phase, body


@functools.lru_cache(maxsize=4)
def person(seed: int, phase: Phase, *findings: str) -> Body:
    """An abdomen in voxels of 2 x 2 x 3 mm."""
    return body(seed=seed, phase=phase, region="abdomen", spacing_mm=(2.0, 2.0, 3.0), findings=findings)


def outlined(drawn: Body, *without: str, parts: Mapping[str, str] | None = None) -> Case:
    """The scan as a case whose structures are the drawn ones, save ``without``.

    ``parts`` says of masks of findings to which structure they belong, as who outlines an organ takes its nodule in.
    """
    numbers = {name: n for n, name in NAME.items() if name in drawn.names and name not in without}
    labels = drawn.labels.copy() if parts else drawn.labels
    for mask, structure in (parts or {}).items():
        labels[drawn.findings[mask].voxels] = numbers.setdefault(structure, 255 - len(numbers))
    case = Case(drawn.volume)
    use(case, given(LabelMap(labels, drawn.volume.grid, {n: name for name, n in numbers.items()})))
    return case
