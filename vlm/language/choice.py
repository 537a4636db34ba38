"""A language model is chosen by one word: ``none``, ``embedded``, a folder of a local model, or the address of an
OpenAI-compatible server."""

from __future__ import annotations

from pathlib import Path

from vlm.errors import UsageError
from vlm.language.models import LanguageModel
from vlm.language.servers import ServerModel, parse_address

NONE = ("none", "compose")
EMBEDDED = ("embedded", "local")


def known_choice(choice: str, *, remote: bool = False) -> None:
    """Refuse a choice that names nothing, before anything is loaded.

    Raises:
        UsageError: it is no word, folder or address, or the address is another machine's without ``remote``.
    """
    if choice in (*NONE, *EMBEDDED) or Path(choice).is_dir():
        return
    if "://" in choice:
        parse_address(choice, remote=remote)
        return
    raise UsageError(
        f"E_USAGE: --model is {choice[:64]!r}, expected none, embedded, a model's folder, or a server's address."
    )


def load_model(choice: str, *, adapter: Path | None = None, remote: bool = False) -> LanguageModel | None:
    """The model that a word names; None for ``none``: everything is composed.

    Args:
        choice: ``none``, ``embedded``, a folder of a local model, or ``http(s)://host:port/v1#model-name``.
        adapter: a folder that ``tomoscribe tune`` made, for a local model.
        remote: whether a server may be another machine than this one.

    Raises:
        UsageError: the word names nothing, or takes no adapter.
        ModelMissingError: it names a model that is not there, with what to install.
    """
    known_choice(choice, remote=remote)
    if adapter is not None and not Path(choice).is_dir():
        raise UsageError("E_USAGE: --adapter is given, expected --model with the folder of the model it was made for.")
    if choice in NONE:
        return None
    if "://" in choice:
        return ServerModel(parse_address(choice, remote=remote))
    from vlm.language import embedded  # loads no torch before it is asked for

    return embedded.embedded_model() if choice in EMBEDDED else embedded.local_model(Path(choice), adapter=adapter)
