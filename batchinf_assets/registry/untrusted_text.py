"""Text that someone else wrote, made fit for one line of a message."""

from __future__ import annotations

TEXT_LENGTH = 200


def one_line(text: str, length: int = TEXT_LENGTH) -> str:
    """Return text without line breaks, control or direction characters, cut at `length`.

    Terminals obey control characters and logs are read line by line, so a file's names could
    otherwise forge either.
    """
    shown = "".join(_shown(character) for character in text[:length].strip())
    return f"{shown}…" if len(text) > length else shown


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode("ascii")
