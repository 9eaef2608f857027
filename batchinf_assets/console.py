"""How commands talk: tables and JSON on standard output, progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TypeVar

from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Item = TypeVar("Item")
UNKNOWN = "-"
PIPED_WIDTH = 160


def one_line(text: str) -> str:
    """Write a message on one line; control characters are shown, not obeyed."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def print_json(document: object) -> None:
    """Print one JSON document."""
    Terminal().print_json(json.dumps(document, default=_plain), highlight=False)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under column names; what is not known is a dash."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=name != columns[-1])
    for row in rows:
        table.add_row(*(UNKNOWN if value is None else str(value) for value in row))
    # Cells quote foreign data: what looks like markup in it is none.
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    Terminal(width=width, markup=False, emoji=False).print(table)


@dataclass(frozen=True, kw_only=True)
class Console:
    """Progress of long work.

    Attributes:
        shown: False keeps quiet, for JSON.
    """

    shown: bool = True

    @contextmanager
    def progress(self, what: str) -> Generator[Callable[[int, int], None]]:
        """Give a function that takes how much is done and how much there is."""
        with _progress(shown=self.shown) as shown:
            task = shown.add_task(what, total=None)
            yield lambda done, total: shown.update(task, completed=done, total=total)

    @contextmanager
    def run_progress(self, windows: int) -> Generator[Callable[[str, str], None]]:
        """Give a function that takes the window and asset that were finished last."""
        with _progress(shown=self.shown) as shown:
            task = shown.add_task("Starting Dagster", total=windows)
            step: dict[str, int] = {}

            def finished(_window: str, asset: str) -> None:
                step[asset] = step.get(asset, 0) + 1
                shown.update(task, completed=step[asset], description=asset)

            yield finished


def bar(items: Sequence[Item], what: str, *, shown: bool) -> Iterable[Item]:
    """Go through items under a progress bar."""
    with Console(shown=shown).progress(what) as advance:
        for done, item in enumerate(items, start=1):
            yield item
            advance(done, len(items))


def _progress(*, shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Terminal(stderr=True),
        transient=True,
        disable=not shown or not sys.stderr.isatty(),
    )


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
