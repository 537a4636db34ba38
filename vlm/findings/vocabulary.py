"""The vocabulary: every finding, site, side, grade and word that the product knows.

Comes from ``prompts/findings.toml`` and ``prompts/words.toml``, is checked when it is
loaded, and never changes afterwards. Text from anywhere is compared with it only after
``vlm.findings.spelling.normalise``, so case, hyphens, plurals and British or American spelling do not matter.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

from vlm.errors import UsageError

LEVELS: tuple[str, ...] = (
    *(f"C{n}" for n in range(1, 8)),
    *(f"T{n}" for n in range(1, 14)),
    *(f"L{n}" for n in range(1, 7)),
    *(f"S{n}" for n in range(1, 6)),
)
SECTIONS: tuple[str, ...] = (
    "lungs_and_pleura",
    "heart_and_vessels",
    "mediastinum",
    "abdomen",
    "bones",
    "soft_tissues_and_devices",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place in the body."""

    key: str
    name: str
    words: tuple[str, ...]
    part_of: tuple[str, ...]  # keys, nearest first
    paired: bool  # has a left and a right one


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A word that becomes a finding together with its site: "effusion", "enlarged"."""

    key: str
    words: tuple[str, ...]
    opposite: tuple[str, ...]  # words that say the sign is not there


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """What of an organ can be too much or too little: "size", "diameter"."""

    words: tuple[str, ...]
    up: str | None  # the sign that too much of it is
    down: str | None  # the sign that too little of it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Grades:
    """Published classes of a finding on one measured quantity."""

    quantity: str  # a key of vlm.evidence.QUANTITIES
    unit: str  # UCUM
    bands: tuple[tuple[str, float], ...]  # (grade, smallest value), rising; "" is a finding without a grade
    source: str

    def of(self, value: float) -> str | None:
        """The grade of a value, or None under the lowest band or in a band without a name."""
        found: str | None = None
        for grade, least in self.bands:
            if value >= least:
                found = grade or None
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An entry of the vocabulary."""

    key: str
    name: str
    words: tuple[str, ...]
    lay: tuple[str, ...]
    when: tuple[tuple[str, tuple[str, ...]], ...]  # (sign, sites); () "no site named", "*" any, "=x" x alone
    site: str | None
    side: Literal["sided", "midline", "any"]
    parents: tuple[str, ...]
    section: str
    snomed: str | None
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    grades: Grades | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Everything the product has a word for."""

    findings: Mapping[str, Finding]
    sites: Mapping[str, Site]
    signs: Mapping[str, Sign]
    sides: Mapping[str, tuple[str, ...]]
    grades: Mapping[str, tuple[str, ...]]  # weakest first
    counts: Mapping[str, tuple[str, ...]]
    attributes: Mapping[str, tuple[str, ...]]
    dimensions: Mapping[str, Dimension]
    directions: Mapping[str, tuple[str, ...]]  # "up", "down", "normal"
    certainty: Mapping[str, tuple[float, float]]
    words: Mapping[str, tuple[str, ...]]  # cues by kind
    plain: frozenset[str]  # words that state no finding
    abbreviations: Mapping[str, str]  # written out before a text is checked; capitals only in capitals
    _ancestors: Mapping[str, frozenset[str]] = field(repr=False)
    _containers: Mapping[str, frozenset[str]] = field(repr=False)

    def finding(self, key: str) -> Finding:
        """The entry of a key; a key that does not exist is an error that names near ones."""
        if key not in self.findings:
            raise UsageError(f"finding {key!r} is not in the vocabulary{did_you_mean(key, self.findings)}")
        return self.findings[key]

    def ancestors(self, key: str) -> frozenset[str]:
        """Keys of every finding that is more general than this one, without itself."""
        return self._ancestors[key]

    def is_a(self, child: str, parent: str) -> bool:
        """Whether one finding is the other, or a kind of it."""
        return child == parent or parent in self._ancestors.get(child, frozenset())

    def site_contains(self, outer: str, inner: str) -> bool:
        """Whether one site is the other, or contains it: ("lung", "upper_lobe") is true."""
        return outer == inner or outer in self._containers.get(inner, frozenset())

    def containers(self, site: str) -> frozenset[str]:
        """Keys of every site that contains this one, without itself."""
        return self._containers.get(site, frozenset())

    def grade_of(self, finding: str, value: float) -> str | None:
        """The grade that published thresholds give a measured value, or None where there are none."""
        grades = self.findings[finding].grades
        return grades.of(value) if grades else None

    def section_of(self, finding: str) -> str:
        """The section of a report in which a finding is told."""
        return self.findings[finding].section


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest known words, or an empty string."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


@functools.cache
def load_vocabulary() -> Vocabulary:
    """The vocabulary that is shipped. Read and checked once a process."""
    folder = files("prompts")
    data = tomllib.loads((folder / "findings.toml").read_text(encoding="utf-8"))
    words = tomllib.loads((folder / "words.toml").read_text(encoding="utf-8"))
    return build_vocabulary(data, words)


def build_vocabulary(data: Mapping[str, Any], words: Mapping[str, Any]) -> Vocabulary:
    """A vocabulary from the two parsed files. A fault in them is an error that names the entry."""
    sites = {key: _site(key, entry) for key, entry in data["site"].items()}
    sites |= {
        level: Site(key=level, name=level, words=(level,), part_of=("vertebra",), paired=False) for level in LEVELS
    }
    signs = {
        key: Sign(key=key, words=tuple(entry["words"]), opposite=tuple(entry.get("opposite", ())))
        for key, entry in data["sign"].items()
    }
    findings = {key: _finding(key, entry, data["prompts"]) for key, entry in data["finding"].items()}
    vocabulary = Vocabulary(
        findings=findings,
        sites=sites,
        signs=signs,
        sides=_lists(data["side"]),
        grades=_lists(words["grade"]),
        counts=_lists(words["count"]),
        attributes=_lists(words["attribute"]),
        dimensions={
            key: Dimension(words=tuple(entry["words"]), up=entry["up"] or None, down=entry["down"] or None)
            for key, entry in words["dimension"].items()
        },
        directions=_lists(words["direction"]),
        certainty={key: (band[0], band[1]) for key, band in data["certainty"].items()},
        words=_lists(words["word"]),
        plain=frozenset(word for text in words["plain"].values() for word in text.split()),
        abbreviations=dict(words["abbreviation"]),
        _ancestors=_closure({key: f.parents for key, f in findings.items()}),
        _containers=_closure({key: s.part_of for key, s in sites.items()}),
    )
    _check(vocabulary)
    return vocabulary


def _lists(table: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(value.split()) if isinstance(value, str) else tuple(value) for key, value in table.items()}


def _site(key: str, entry: Mapping[str, Any]) -> Site:
    words = tuple(entry["words"])
    name = entry.get("name", key.replace("_", " "))
    return Site(
        key=key, name=name, words=words, part_of=tuple(entry["part_of"]), paired=bool(entry.get("paired", False))
    )


def _finding(key: str, entry: Mapping[str, Any], prompts: Mapping[str, list[str]]) -> Finding:
    known = {"name", "words", "lay", "when", "site", "side", "parents", "section", "snomed", "positive", "negative"}
    if strange := set(entry) - known - {"grades"}:
        raise ValueError(f"finding.{key} has unknown fields {sorted(strange)}")
    name: str = entry["name"]
    grades = entry.get("grades")

    def fill(kind: str) -> tuple[str, ...]:
        written = entry.get(kind) or prompts[kind]
        return tuple(p.replace("{name}", name).replace("{Name}", name[:1].upper() + name[1:]) for p in written)

    return Finding(
        key=key,
        name=name,
        words=tuple(entry.get("words", ())),
        lay=tuple(entry.get("lay", ())),
        when=tuple(_when(text) for text in entry.get("when", ())),
        site=entry.get("site"),
        side=entry.get("side", "any"),
        parents=tuple(entry.get("parents", ())),
        section=entry["section"],
        snomed=entry.get("snomed"),
        positive=fill("positive"),
        negative=fill("negative"),
        grades=Grades(
            quantity=grades["quantity"],
            unit=grades["unit"],
            bands=tuple((band["grade"], float(band["from"])) for band in grades["bands"]),
            source=grades["source"],
        )
        if grades
        else None,
    )


def _when(text: str) -> tuple[str, tuple[str, ...]]:
    sign, _, sites = text.partition("@")
    return sign.strip(), tuple(sites.split())


def _closure(parents: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """For every key all keys above it. A key above itself is an error."""
    above: dict[str, frozenset[str]] = {}

    def climb(key: str, path: tuple[str, ...]) -> frozenset[str]:
        if key in path:
            raise ValueError(f"{' > '.join((*path, key))}: an entry stands above itself")
        if key not in above:
            direct = parents.get(key, ())
            if strange := [p for p in direct if p not in parents]:
                raise ValueError(f"{key}: {strange[0]!r} is not an entry")
            above[key] = frozenset(direct).union(*(climb(p, (*path, key)) for p in direct))
        return above[key]

    for key in parents:
        climb(key, ())
    return above


def _check(vocabulary: Vocabulary) -> None:
    for key, finding in vocabulary.findings.items():
        if finding.section not in SECTIONS:
            raise ValueError(f"finding.{key}: section {finding.section!r} is unknown; known: {', '.join(SECTIONS)}")
        if finding.site is not None and finding.site not in vocabulary.sites:
            raise ValueError(f"finding.{key}: site {finding.site!r} is not an entry")
        if finding.side not in ("sided", "midline", "any"):
            raise ValueError(f"finding.{key}: side {finding.side!r} is unknown; known: sided, midline, any")
        if not finding.words and not finding.when:
            raise ValueError(f"finding.{key} has neither words nor when: nothing in a text can mean it")
        for sign, sites in finding.when:
            if sign not in vocabulary.signs:
                raise ValueError(f"finding.{key}: sign {sign!r} is not an entry")
            if strange := [s for s in sites if s != "*" and s.removeprefix("=") not in vocabulary.sites]:
                raise ValueError(f"finding.{key}: site {strange[0]!r} is not an entry")
        if finding.grades:
            least = [value for _, value in finding.grades.bands]
            if least != sorted(least):
                raise ValueError(f"finding.{key}.grades: the bands do not rise")
