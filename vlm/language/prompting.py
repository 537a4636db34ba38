"""Prompts: text that people edit in ``prompts/*.md``, with a version that goes into the provenance.

A prompt file opens with ``version`` and ``use``; its parts are headings. Text from files, earlier reports and users
enters a prompt only by ``quoted``: cut, and one JSON string, which it cannot end itself.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

MOST_QUOTED = 2000  # characters of anybody else's text in a prompt
HEADING = re.compile(r"^# ([a-z_]+)\n", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One file of ``prompts``."""

    name: str
    version: int
    parts: Mapping[str, str]
    digest: str  # of the whole file

    @property
    def label(self) -> str:
        """What the provenance says: "word 1 (1f3a…)"."""
        return f"{self.name} {self.version} ({self.digest[:12]})"

    def parts_digest(self, part: str) -> str:
        """sha256 of one part: what an adapter was trained with."""
        return hashlib.sha256(self.parts[part].encode()).hexdigest()


@functools.cache
def load_prompt(name: str) -> Prompt:
    """Read ``prompts/NAME.md``; ``FileNotFoundError`` where there is none, ``ValueError`` where it has no version."""
    text = (files("prompts") / f"{name}.md").read_text(encoding="utf-8")
    head = re.match(r"---\n(.*?)\n---\n", text, re.S)
    version = re.search(r"^version: (\d+)$", head.group(1), re.M) if head else None
    if head is None or version is None:
        raise ValueError(f"prompts/{name}.md has no version, expected a head with 'version: N'")
    pieces = HEADING.split(text[head.end() :])
    parts = {title: body.strip() for title, body in zip(pieces[1::2], pieces[2::2], strict=True)}
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Prompt(name=name, version=int(version.group(1)), parts=parts, digest=digest)


def quoted(text: str) -> str:
    """Somebody else's text as data: one JSON string of at most 2,000 characters, which holds no mark of a prompt."""
    return json.dumps(text[:MOST_QUOTED].replace("<", "‹").replace(">", "›"), ensure_ascii=False)
