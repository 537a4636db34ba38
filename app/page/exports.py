"""The report as a person left it, to take away: Markdown, JSON, and HTML made for printing.

Text becomes HTML by ``html.escape`` alone. Files are named by the case's number, never by a patient.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import HTTPException, Response

from app.export import to_markdown as report_to_markdown
from app.export.footnotes import footnote
from app.page import reviews
from vlm.report import FINDINGS_SECTIONS, SECTIONS, Report, Sentence

if TYPE_CHECKING:
    from app.page.desk import Desk

STYLE = """
body{font:11pt/1.45 Georgia,serif;max-width:46em;margin:2em auto;padding:0 1em;color:#111;background:#fff}
h1{font-size:16pt}h2{font-size:12pt;margin:1.2em 0 .3em}.notice{border:1px solid #111;padding:.4em .8em}
ul,ol{padding-left:1.4em}li{margin:.15em 0}sup{font-size:.7em}.human{font-style:italic}
.evidence{font:8.5pt/1.4 system-ui,sans-serif;color:#333}@page{margin:18mm}h2{break-after:avoid}li{break-inside:avoid}
"""
LISTED = ("impression", "to_review", "not_assessed")


def export(desk: Desk, name: str, owner: str, file: str) -> Response:
    """``report.md``, ``report.json``, ``report.html``, or ``report.zip`` with all three, masks and key images."""
    makers: Mapping[str, tuple[str, Callable[[Report], str]]] = {
        "report.md": ("text/markdown", to_markdown),
        "report.json": ("application/json", to_json),
        "report.html": ("text/html", to_html),
    }
    if file not in makers and file != "report.zip":
        raise HTTPException(404)
    opened, case = desk.opened(name, owner), desk.store.case(name, owner)
    report = reviews.reviewed_report(opened, reviews.steps_of(desk.store, name))
    if file == "report.zip":
        texts = {text: make(report) for text, (_, make) in makers.items()}
        return Response(_zipped(opened.folder, texts), media_type="application/zip", headers=_named(case.number, file))
    kind, make = makers[file]
    return Response(make(report), media_type=f"{kind}; charset=utf-8", headers=_named(case.number, file))


def _named(number: int, file: str) -> dict[str, str]:
    shown = "inline" if file.endswith(".html") else "attachment"
    return {"Content-Disposition": f'{shown}; filename="case-{number}-{file}"'}


def _zipped(folder: Path, texts: Mapping[str, str]) -> bytes:
    """The report as it stands now, with the masks and key images that its reading wrote."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text, zipfile.ZIP_DEFLATED)
        for path in sorted([*folder.glob("masks/*"), *folder.glob("key/*")]):  # packed already
            archive.write(path, path.relative_to(folder).as_posix())
    return stream.getvalue()


def to_markdown(report: Report) -> str:
    """report.md; what a person wrote says so, and says what the checker thinks of it."""
    return report_to_markdown(
        report.model_copy(update={"sentences": tuple(_marked_by_hand(sentence) for sentence in report.sentences)})
    )


def _marked_by_hand(sentence: Sentence) -> Sentence:
    if sentence.author != "human":
        return sentence
    doubt = f"; {sentence.verdict}: {sentence.reason}" if sentence.reason else ""
    return sentence.model_copy(update={"text": f"{sentence.text} [edited by hand{doubt}]"})


def to_json(report: Report) -> str:
    """report.json, its schema's own form."""
    return json.dumps(report.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False) + "\n"


def to_html(report: Report) -> str:
    """One page of HTML without script, for a printer or a browser."""
    marks = {name: n for n, name in enumerate(dict.fromkeys(c for s in report.sentences for c in s.cites), start=1)}
    parts = ["<h1>CT report (draft)</h1>", f'<p class="notice">{escape(report.notice)}</p>']
    for key in ("technique", "comparison", *FINDINGS_SECTIONS, *LISTED):
        sentences = report.section(key)
        if not sentences:
            continue
        parts.append(f"<h2>{escape(SECTIONS[key])}</h2>")
        told = [_sentence(sentence, marks) for sentence in sentences]
        tag = "ol" if key == "impression" else "ul"
        parts.append(
            f"<{tag}><li>{'</li><li>'.join(told)}</li></{tag}>" if key in LISTED else f"<p>{' '.join(told)}</p>"
        )
    lines = [f"<li>{escape(_line(report, name))}</li>" for name in marks if name in report.evidence]
    parts += ["<h2>Evidence</h2>", f'<ol class="evidence">{"".join(lines)}</ol>']
    head = f'<meta charset="utf-8"><title>CT report (draft)</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _sentence(sentence: Sentence, marks: Mapping[str, int]) -> str:
    cites = ",".join(str(marks[name]) for name in sentence.cites[:6])
    more = "…" if len(sentence.cites) > 6 else ""
    by_hand = sentence.author == "human"
    said = escape(_marked_by_hand(sentence).text)
    doubt = f" — {escape(sentence.reason)}" if sentence.reason and not by_hand else ""
    told = f'<span class="human">{said}</span>' if by_hand else said
    return told + (f"<sup>{cites}{more}</sup>" if cites else "") + doubt


def _line(report: Report, name: str) -> str:
    return footnote((name, report.evidence[name])).replace("**", "").replace("`", "")
