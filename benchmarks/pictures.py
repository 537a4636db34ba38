"""The README's picture: the demo's report beside the slices that its sentences point at.

    python -m benchmarks.pictures REPORT_DIR

Made from a phantom's report only; `make demo` writes one to demo/report.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from benchmarks.stamp import ROOT
from vlm.report import SECTIONS, Report

WIDTH = 78  # characters of a line of text
SLICES = 2


def lines_of(page: str) -> list[tuple[str, bool]]:
    """(line, whether it is a heading) of some findings and the impression of a report.md, wrapped."""
    out: list[tuple[str, bool]] = []
    for key in ("technique", "lungs_and_pleura", "heart_and_vessels"):
        start = f"**{SECTIONS[key]}.** "
        told = next((line.removeprefix(start) for line in page.splitlines() if line.startswith(start)), "")
        if told:
            out += [(SECTIONS[key], True), *((line, False) for line in textwrap.wrap(told, WIDTH))]
    out += [(line, False) for line in page.splitlines() if line.startswith("†")]
    impression = page.partition("## Impression\n\n")[2].partition("\n\n")[0]
    return [*out, ("Impression", True), *((line, False) for line in impression.splitlines())]


def main() -> None:
    folder = Path(sys.argv[1])
    report = Report.model_validate(json.loads((folder / "report.json").read_text(encoding="utf-8")))
    told = [name for s in report.section("impression") for name in s.cites]
    keys = [folder / "key" / f"{name}.png" for name in dict.fromkeys(told)]
    shown = [path for path in keys if path.is_file()][:SLICES]
    figure = plt.figure(figsize=(15, 5.0), facecolor="#111111")
    for number, path in enumerate(shown):
        axis = figure.add_axes((0.005 + number * 0.315, 0.01, 0.31, 0.98))
        axis.imshow(Image.open(path))
        axis.axis("off")
    for number, (line, heading) in enumerate(lines_of((folder / "report.md").read_text(encoding="utf-8"))):
        figure.text(
            0.645, 0.97 - number * 0.041, line, va="top", fontsize=8.8,
            color="#56B4E9" if heading else "#E8E8E8", weight="bold" if heading else "normal",
        )  # fmt: skip
    figure.savefig(ROOT / "docs" / "images" / "report.png", dpi=100, facecolor=figure.get_facecolor())


if __name__ == "__main__":
    main()
