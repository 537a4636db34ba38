"""Who words a report: the composer, the phrase grammar in a style, or a language model that a user names.

A model is loaded beside the reading of the scan. One that is missing or fails turns itself off, visibly: the report is
composed, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from vlm.errors import UsageError
from vlm.evidence import Ledger
from vlm.grounding import Context
from vlm.language.choice import NONE, known_choice, load_model
from vlm.language.models import LanguageModel, ModelError
from vlm.language.rewording import reword
from vlm.language.rows import STYLES, Style
from vlm.report import CapabilityOff, Draft

REMEDY = "Choose one with --model: embedded, a model's folder, or the address of a server on this machine."


class Writer:
    """A model that is being loaded, and a style; after ``write`` it knows how that went."""

    def __init__(
        self, choice: str = "none", style: str = "structured", *, adapter: Path | None = None, remote: bool = False
    ) -> None:
        """Know the choice; nothing is loaded before ``begin``.

        Args:
            choice: what ``load_model`` knows.
            style: structured, narrative or short.
            adapter: of a local model, made by ``tune``.
            remote: whether a server may be another machine.

        Raises:
            UsageError: no such style, or a choice that names nothing.
        """
        if style not in STYLES:
            raise UsageError(f"E_USAGE: --style is {style[:32]!r}, expected {', '.join(STYLES)}.")
        known_choice(choice, remote=remote)
        if adapter is not None and not Path(choice).is_dir():
            raise UsageError("E_USAGE: --adapter is given, expected --model with the folder of its model.")
        self.style: Style = style
        self.off: CapabilityOff | None = None
        self.provenance: dict[str, object] = {"model": "none", "style": style}
        self._load: Callable[[], LanguageModel | None] | None = None
        self._loading: Future[LanguageModel | None] | None = None
        if choice in NONE:
            self._turn_off("none was chosen")
        else:
            self._load = partial(load_model, choice, adapter=adapter, remote=remote)

    def begin(self) -> None:
        """Load the model beside what comes next; for a scan that is refused none is loaded."""
        if self._load is not None and self._loading is None:
            with_a_thread = ThreadPoolExecutor(max_workers=1)
            self._loading = with_a_thread.submit(self._load)
            with_a_thread.shutdown(wait=False)

    def write(self, drafts: Sequence[Draft], ledger: Ledger, context: Context) -> list[Draft]:
        """The drafts in this writer's words; composed where its own do not hold."""
        model = self._model()
        done = reword(drafts, ledger, style=self.style, model=model, context=context)
        self.provenance = done.provenance(model, self.style)
        if done.error:
            self._turn_off(f"{done.error} {done.composed} of {done.rows} sentences stayed composed")
        return done.drafts

    def _model(self) -> LanguageModel | None:
        self.begin()
        if self._loading is None:
            return None
        try:
            return self._loading.result()
        except ModelError as error:
            self._turn_off(str(error))
            return None

    def _turn_off(self, reason: str) -> None:
        self.off = CapabilityOff(
            capability="language model", reason=f"{reason}; what it did not word is composed by rules", remedy=REMEDY
        )
