"""A proposed contract as YAML to paste into `defs.yaml`, what it rests on as comments."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from batchinf_assets.checks import quoted
from batchinf_assets.contracts.infer import Proposal, ProposedColumn
from batchinf_assets.spec.contract import ColumnSpec

_RULES = ("nullable", "min", "max", "allowed", "max_length", "unique")


def proposal_yaml(proposal: Proposal, name: str) -> str:
    """Write the proposed `source` section.

    Args:
        proposal: What was found.
        name: How to call the file.
    """
    head = f"# Proposed from {quoted(name)}: {seen_rows(proposal)}."
    return "\n".join([head, *source_lines(proposal)]) + "\n"


def declared_document(spec: ColumnSpec) -> dict[str, object]:
    """Return a column's declaration as written by hand: what is not said is left out."""
    document: dict[str, object] = {"type": spec.type}
    for rule in _RULES:
        value = getattr(spec, rule)
        if value is not None and value is not False:
            document[rule] = _plain(value)
    return document


def seen_rows(proposal: Proposal) -> str:
    """Say how many rows the proposal rests on."""
    if proposal.rows == proposal.rows_in_file:
        return f"all {proposal.rows:,} rows"
    if proposal.rows_in_file is None:
        return f"a sample, the first {proposal.rows:,} rows"
    return f"a sample of {proposal.rows:,} of {proposal.rows_in_file:,} rows"


def source_lines(proposal: Proposal, files: str | None = None) -> Iterator[str]:
    """Write the section without saying what it rests on.

    Args:
        proposal: What was found.
        files: The path to declare, where it is known.
    """
    yield "# A proposal, not the truth: correct bounds, lists and keys by what you know."
    yield "source:"
    if files is None:
        yield "  # files: could not be told: the path below the landing folder, with {window} in it"
    else:
        yield f"  files: {flow(files)}"
    yield from (f"  # {note}" for note in proposal.notes)
    if proposal.key:
        yield f"  key: {flow(list(proposal.key))}"
    if proposal.time is not None:
        yield f"  time: {flow(proposal.time)}"
    yield "  columns:"
    yield from (f"    {line}" for column in proposal.columns for line in _column(column))


def _column(column: ProposedColumn) -> Iterator[str]:
    notes = "; ".join(column.notes)
    if column.spec is None:
        yield f"# {quoted(column.name)}: {notes}"
        return
    # As a mapping of one, so that a name such as `on` is quoted and stays a text.
    entry = flow({column.name: declared_document(column.spec)})[1:-1]
    yield f"{entry}  # {notes}" if notes else entry


def flow(value: object) -> str:
    """Write a value in one line of YAML."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value
