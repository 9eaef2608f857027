"""What a file says of nulls, held against what the file of an earlier window said.

Most writers call every column optional, so that alone means nothing; a column that an earlier file
called required, and this one does not, is a change of the contract. Nulls that are there are found
by their values, in `contracts.validate`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from batchinf_assets.checks import Violation
from batchinf_assets.spec.contract import AcceptedChange, ColumnSpec

NO_WINDOW_SAYS = "no window before it in the lake says which columns are required"
FORMAT_SAYS_NOTHING = "its format does not say which columns are required"

_OPTIONAL: AcceptedChange = "became_optional"


@dataclass(frozen=True, kw_only=True)
class RequiredBefore:
    """The declared columns that the file of an earlier window called required.

    Attributes:
        window: The earlier window's key.
        columns: Their names.
    """

    window: str
    columns: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Nullability:
    """What a landed file says of nulls, beside what was said before.

    Attributes:
        required: Declared columns that it calls required; None where its format cannot say.
        before: What the newest earlier file said; None where no known one said anything.
    """

    required: frozenset[str] | None
    before: RequiredBefore | None


@dataclass(frozen=True, kw_only=True)
class JudgedNullability:
    """What became of the columns' nullability.

    Attributes:
        violations: One for each column that became optional, unless that is accepted.
        accepted: The change that passed, if there is one.
        measured: What was compared or why nothing was, and which columns changed either way.
    """

    violations: tuple[Violation, ...] = ()
    accepted: tuple[AcceptedChange, ...] = ()
    measured: Mapping[str, str] = field(default_factory=dict[str, str])


def judge_nullability(
    found: Nullability,
    schema: pa.Schema,
    columns: Mapping[str, ColumnSpec],
    accept: Container[AcceptedChange],
) -> JudgedNullability:
    """Find the columns that may not hold nulls and became optional.

    Args:
        found: What the file and one before it say.
        schema: The file's columns.
        columns: The declared ones.
        accept: Changes that pass.
    """
    if found.required is None:
        return JudgedNullability(measured={"nullability": FORMAT_SAYS_NOTHING})
    if found.before is None:
        return JudgedNullability(measured={"nullability": NO_WINDOW_SAYS})
    optional = [
        name
        for name in columns
        if name in found.before.columns - found.required and _is_change(name, schema, columns)
    ]
    passes = _OPTIONAL in accept
    changed = {_OPTIONAL: optional, "became_required": found.required - found.before.columns}
    named = {change: ", ".join(sorted(names)) for change, names in changed.items() if names}
    return JudgedNullability(
        violations=() if passes else tuple(_violation(name, found.before) for name in optional),
        accepted=(_OPTIONAL,) if passes and optional else (),
        measured={"nullability": f"compared with {found.before.window}", **named},
    )


def _violation(name: str, before: RequiredBefore) -> Violation:
    rule = f"required as in window {before.window}"
    found = f"optional (passes where `accept` has {_OPTIONAL})"
    return Violation(column=name, rule=rule, found=found)


def _is_change(name: str, schema: pa.Schema, columns: Mapping[str, ColumnSpec]) -> bool:
    """Say whether it counts: a column that is gone, or there twice, is told of elsewhere."""
    return not columns[name].nullable and len(schema.get_all_field_indices(name)) == 1


def required_columns(schema: pa.Schema, columns: Container[str]) -> frozenset[str]:
    """Return the declared columns that a file's schema calls required."""
    return frozenset(each.name for each in schema if each.name in columns and not each.nullable)
