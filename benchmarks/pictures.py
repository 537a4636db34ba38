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
from vlm.report import FINDINGS_SECTIONS, SECTIONS, Report

WIDTH = 62  # characters of a line of text
SLICES = 2


def lines_of(report: Report) -> list[tuple[str, bool]]:
    """(line, whether it is a heading) of findings and impression, wrapped."""
    out: list[tuple[str, bool]] = []
    for key in ("technique", *FINDINGS_SECTIONS, "impression", "not_assessed"):
        sentences = report.section(key)
        if not sentences:
            continue
        out.append((SECTIONS[key], True))
        text = " ".join(f"{s.text} [{', '.join(s.cites)}]" if len(s.cites) < 3 else s.text for s in sentences)
        out += [(line, False) for line in textwrap.wrap(textwrap.shorten(text, 620, placeholder=" …"), WIDTH)]
    return out


def main() -> None:
    folder = Path(sys.argv[1])
    report = Report.model_validate(json.loads((folder / "report.json").read_text(encoding="utf-8")))
    told = [name for s in report.section("impression") for name in s.cites]
    keys = [folder / "key" / f"{name}.png" for name in dict.fromkeys(told)]
    shown = [path for path in keys if path.is_file()][:SLICES]
    figure, axes = plt.subplots(1, SLICES + 1, figsize=(15, 5.2), width_ratios=[1.1, 1.1, 1.25], facecolor="#111111")
    for axis in axes:
        axis.axis("off")
    for axis, path in zip(axes, shown, strict=False):
        axis.imshow(Image.open(path))
    for number, (line, heading) in enumerate(lines_of(report)):
        axes[-1].text(
            0.0, 1.0 - number * 0.037, line, transform=axes[-1].transAxes, va="top", family="DejaVu Sans",
            fontsize=8.6, color="#56B4E9" if heading else "#E8E8E8", weight="bold" if heading else "normal",
        )  # fmt: skip
    figure.tight_layout(pad=0.6)
    figure.savefig(ROOT / "docs" / "images" / "report.png", dpi=100, facecolor=figure.get_facecolor())


if __name__ == "__main__":
    main()
