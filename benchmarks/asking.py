"""Questions in anyone's words: what the router takes them for, what is declined, and whether the answers are true.

    python -m benchmarks.asking [--questions third fourth fifth sixth] [--rules] [--write-docs]

The sets of ``questions/`` were written apart from the examples that train the router. The misses of ``third``,
``fourth`` and ``fifth`` were read and mended: they tell how well the router fits what it was developed on. Those of
``sixth`` nobody has read. Truth of the answers comes from phantoms: a question after a finding, its side or its size is
right when the answer says what was put in. "Cannot say" is counted apart. ``--rules`` leaves the head out, as without
the extra.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel

from app.asking import opened
from app.known import know
from app.measuring.intervals import wilson
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.findings.vocabulary import load_vocabulary
from vlm.language import router
from vlm.language.conversation import Conversation
from vlm.language.events import Call, Event, Note, Question, Said, Understood
from vlm.language.router import intents, plainly
from vlm.language.scene import OpenCase
from vlm.phantom.chest import chest
from vlm.train.intents import sentences

FOLDER = Path(__file__).with_name("questions")
SETS = ("third", "fourth", "fifth", "sixth")
NEW = "sixth"  # whose misses nobody has read, and which are not printed
UNDONE = "not_assessed"
MM, ML = 2.5, 0.2  # how near a size must be: mm, and share of a volume


@dataclass(frozen=True)
class Asked:
    """A question with what it should be taken for."""

    intents: tuple[str, ...]
    finding: str
    site: str
    side: str
    text: str
    pointed: bool


def questions(name: str) -> list[Asked]:
    """The questions of a set."""
    path = FOLDER / f"{name}.txt"
    rows = [line.split("|", 4) for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [
        Asked(tuple(i.split("/")), finding, site, side, text.removeprefix("@").strip(), text.startswith("@"))
        for i, finding, site, side, text in rows
    ]


# ---- what a question is taken for


@dataclass(frozen=True)
class Taken:
    """How one question was understood and answered, in a conversation of its own."""

    asked: Asked
    intent: str
    slots: Mapping[str, str]
    declined: bool
    silent: bool  # nothing was claimed of the patient
    seconds: float
    offered: str  # the question back, where the router is not sure between two


def taken(case: OpenCase, asked: Asked) -> Taken:
    """Ask one question of a case."""
    point = (0.0, 0.0, 0.0) if asked.pointed else None
    start = time.perf_counter()
    events = list(Conversation(case).answer(Question(text=asked.text, point=point)))
    seconds = time.perf_counter() - start
    first = next(event for event in events if isinstance(event, Understood))
    notes = [event.about for event in events if isinstance(event, Note)]
    said = any(isinstance(event, Said) for event in events)
    offered = " ".join(event.text for event in events if isinstance(event, Note) and event.about == "clarify")
    return Taken(asked, first.intent, first.slots, "declined" in notes, not said, seconds, offered)


def intent_offered(found: Taken) -> bool:
    """Whether the right intent is one of two that the answer asks back for."""
    return any(f") {intents()[key].says}" in found.offered for key in found.asked.intents)


def slots_right(found: Taken) -> bool | None:
    """Whether finding, place and side are those that were named; None where nothing is scored."""
    wanted = found.asked
    if all(value == "-" for value in (wanted.finding, wanted.site, wanted.side)):
        return None
    vocabulary, told = load_vocabulary(), found.slots
    findings, sites = told.get("finding", "").split(", "), told.get("place", "").split(", ")
    if wanted.finding != "-" and not any(key in vocabulary.findings and _near(key, wanted.finding) for key in findings):
        return False
    if wanted.site != "-" and wanted.site not in sites and not any(_home(key) == wanted.site for key in findings):
        return False
    return wanted.side in ("-", told.get("side", ""))


def _near(key: str, wanted: str) -> bool:
    vocabulary = load_vocabulary()
    return vocabulary.is_a(key, wanted) or vocabulary.is_a(wanted, key)


def _home(key: str) -> str | None:
    entry = load_vocabulary().findings.get(key)
    return entry.site if entry else None


# ---- whether answers are true


@dataclass(frozen=True)
class Truth:
    """What a phantom holds of a finding."""

    sides: tuple[str, ...]
    size: float = 0.0  # mm or mL
    count: int = 1


PHANTOMS: tuple[tuple[dict[str, object], Mapping[str, Truth]], ...] = (
    (
        {"seed": 11, "nodules": (("right", "upper", 16.0, 40.0),), "effusion_left_ml": 300.0},
        {"lung_nodule": Truth(("right",), 16.0), "pleural_effusion": Truth(("left",), 300.0)},
    ),
    ({"seed": 12}, {}),
    (
        {
            "seed": 13, "effusion_right_ml": 500.0,
            "nodules": (("left", "lower", 14.0, 40.0), ("right", "upper", 20.0, 40.0)),
        },
        {"lung_nodule": Truth(("left", "right"), 20.0, 2), "pleural_effusion": Truth(("right",), 500.0)},
    ),
)  # fmt: skip


def verdict_questions() -> list[tuple[str, str, str]]:
    """(finding, what is asked, question) of the questions whose answers are known."""
    lines = (FOLDER / "verdicts.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|", 2) for line in lines if not line.startswith("#")]
    return [(finding, kind, text) for finding, kind, text in rows]


def verdict(events: Sequence[Event], truth: Truth | None, asked: str) -> str:
    """ "right", "wrong" or "cannot say"."""
    detect = [event for event in events if isinstance(event, Call) and event.name == "detect"]
    said = " ".join(event.text for event in events if isinstance(event, Said) and event.verdict == "supported").lower()
    status = detect[0].data.get("status", UNDONE) if detect else UNDONE
    if status in (UNDONE, "uncertain"):
        return "cannot say"
    there = truth is not None and (asked not in ("left", "right") or asked in truth.sides)
    if (status == "present") != there:
        return "wrong"
    if not there or truth is None or asked in ("presence", "left", "right"):
        return "right"
    if asked == "side":
        return "right" if all(side in said for side in truth.sides) else "wrong"
    if asked == "count":
        word = ("one ", "two ", "three ")[truth.count - 1]
        return "right" if word in said else "wrong"
    numbers = [float(word.strip(".,")) for word in said.split() if word.strip(".,").replace(".", "", 1).isdigit()]
    near = MM if truth.size < 100 else ML * truth.size
    return "right" if any(abs(number - truth.size) <= near for number in numbers) else "wrong"


def cases(folder: Path) -> Iterator[tuple[OpenCase, Mapping[str, Truth]]]:
    """The phantoms, read."""
    for number, (options, truth) in enumerate(PHANTOMS):
        made = chest(spacing_mm=(1.5, 1.5, 2.0), **options)  # type: ignore[arg-type]
        image = nibabel.Nifti1Image(made.volume.hu, made.volume.grid.affine)
        image.header.set_xyzt_units("mm")
        path = folder / f"{number}.nii.gz"
        nibabel.save(image, path)
        yield opened(know(path)), truth


# ---- the table


def share(right: int, of: int) -> str:
    """A share with its interval of 95 %."""
    low, high = wilson(right, of)
    return f"{right} of {of} = {right / of:.3f} ({low:.3f} to {high:.3f})"


def counted(told: Sequence[Taken]) -> list[tuple[str, str]]:
    """The rows of one set of questions."""
    refused = {key for key, intent in intents().items() if intent.declined}
    hits = [t.intent in t.asked.intents for t in told]
    slots = [right for t in told if (right := slots_right(t)) is not None]
    unanswerable = [t for t in told if t.asked.intents[0] in refused]
    answerable = [t for t in told if t.asked.intents[0] not in refused]
    seconds = sorted(t.seconds for t in told)
    trained = {plainly(text) for text in sentences()}
    return [
        ("questions, intents", f"{len(told)}, {len({t.asked.intents[0] for t in told})}"),
        ("of them word for word in the training", str(sum(plainly(t.asked.text) in trained for t in told))),
        ("intent", share(sum(hits), len(hits))),
        ("intent, or offered in a question back",
         share(sum(hit or intent_offered(t) for t, hit in zip(told, hits, strict=True)), len(hits))),
        ("slots (finding, place, side)", share(sum(slots), len(slots))),
        ("unanswerable, nothing claimed", share(sum(t.silent for t in unanswerable), len(unanswerable))),
        ("unanswerable, declined by name", share(sum(t.declined for t in unanswerable), len(unanswerable))),
        ("answerable, declined all the same", share(sum(t.declined for t in answerable), len(answerable))),
        ("seconds an answer: median, 95th in a hundred, longest",
         f"{statistics.median(seconds):.2f}, {seconds[int(0.95 * len(seconds))]:.2f}, {seconds[-1]:.2f}"),
    ]  # fmt: skip


def misses(told: Sequence[Taken]) -> list[str]:
    """What was taken for something else."""
    return [
        f"| {t.asked.text} | {'/'.join(t.asked.intents)} | {t.intent} | {dict(t.slots)} |"
        for t in told
        if t.intent not in t.asked.intents or slots_right(t) is False
    ]


def main() -> None:
    """Ask, print, and with --write-docs put the table into its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", choices=SETS, nargs="+", default=list(SETS))
    parser.add_argument("--rules", action="store_true", help="without the head")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    if options.rules:
        router.head = lambda: None  # type: ignore[assignment]
    verdicts: Counter[str] = Counter()
    columns: list[list[tuple[str, str]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (case, truth) in enumerate(cases(Path(folder))):
            for name in options.questions if number == 0 else ():
                told = [taken(case, asked) for asked in questions(name)]
                columns.append(counted(told))
                print("\n".join(misses(told) if name != NEW else []), flush=True)
            for finding, kind, text in verdict_questions():
                events = list(Conversation(case).answer(Question(text=text)))
                found = verdict(events, truth.get(finding), kind)
                verdicts[found] += 1
                if found != "right":
                    print(f"| phantom {number + 1} | {text} | {finding} {kind} | {found} |", flush=True)
    heads = [f"{name} ({'unseen' if name == NEW else 'development'})" for name in options.questions]
    lines = [f"| what | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    lines += [f"| {row[0][0]} | {' | '.join(value for _, value in row)} |" for row in zip(*columns, strict=True)]
    known = share(verdicts["right"], verdicts["right"] + verdicts["wrong"])
    command = f"python -m benchmarks.asking --questions {' '.join(options.questions)}{' --rules' * options.rules}"
    text = "\n".join([
        *lines, "",
        f"Answers on three phantoms, right of those that say something: {known}; cannot say: "
        f"{share(verdicts['cannot say'], verdicts.total())}.", "", stamp(command),
    ])  # fmt: skip
    print(text)
    if options.write_docs:
        write_section(ROOT / "docs" / "ask.md", "rules" if options.rules else "asking", text)


if __name__ == "__main__":
    main()
