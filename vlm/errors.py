"""Every error a user can meet, in one tree.

    TomoscribeError            exit 4   ours: a fault of the program
    ├── UsageError             exit 2   the command cannot mean that
    └── IntakeError            exit 3   a scan refused on the way in

A message is one line: code, file, tag, found, expected, remedy. It never holds
a patient's name, ID or date; what was found is escaped and cut at 64 characters.
"""

from __future__ import annotations

SHOWN_CHARACTERS = 64


class TomoscribeError(Exception):
    """An error that is said to the user in one line."""

    exit_code = 4


class UsageError(TomoscribeError):
    """The command line asks for something that does not exist or cannot be done."""

    exit_code = 2


class IntakeError(TomoscribeError):
    """A scan refused on the way in.

    Args:
        code: a code of ``docs/intake.md``, such as ``E_MISSING_SLICES``.
        file: file name relative to what the user gave, or "" for the whole input.
        tag: the DICOM keyword, header field or property that is wrong.
        found: what stands there. Escaped and cut here; never a patient's identity.
        expected: what would have been accepted.
        remedy: what the user can do now.
    """

    exit_code = 3

    def __init__(self, code: str, *, file: str = "", tag: str, found: object, expected: str, remedy: str) -> None:
        self.code, self.file, self.tag = code, shown(file), tag
        self.found, self.expected, self.remedy = shown(found), expected, remedy
        where = f" {self.file}:" if self.file else ":"
        super().__init__(f"{code}{where} {tag} is {self.found}, expected {expected}. {remedy}")

    def of(self, what: str) -> IntakeError:
        """The same refusal, said of one of several inputs."""
        tag = f"{self.tag} of {what}"
        return IntakeError(
            self.code, file=self.file, tag=tag, found=self.found, expected=self.expected, remedy=self.remedy
        )


def shown(value: object) -> str:
    """A value from outside as it may be shown: printable, on one line, at most 64 characters."""
    text = str(value).encode("unicode_escape").decode("ascii")
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
