"""How old the observations of an `as_of` reference were when two revisions used them.

The landed file tells it of the revision that was made from these very bytes. Of the other one the
bytes are gone, but its features say which observation it can have seen at the latest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import pyarrow as pa

from batchinf_assets.contracts.columns import conform
from batchinf_assets.errors import BatchinfError
from batchinf_assets.features.views import as_of_sql
from batchinf_assets.lake.query import query, quoted
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.snapshots.landing import Landing
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.source import AsOfSpec, ReferenceSpec

MOST_ROWS = 1000
"""So many of the changed rows are looked up at most."""


@dataclass(frozen=True, kw_only=True)
class ObservationAge:
    """Age of the observations behind rows whose features changed; None is not known.

    Attributes:
        rows: Rows that were looked at.
        fresh_seconds: Median age in the revision that had seen the later file.
        stale_seconds: Median age in the other one, at least: of the newest observations that hold
            the values which it used.
        without: Rows for which the other one had no values at all.
    """

    rows: int
    fresh_seconds: float | None
    stale_seconds: float | None
    without: int | None


@dataclass(frozen=True, kw_only=True)
class ChangedRows:
    """Rows whose features changed, on both sides.

    Attributes:
        snapshot: Source rows that hold them.
        stale: Key and features, of the revision that had not seen the later file.
        fresh: The same rows of the other revision.
    """

    snapshot: pa.Table
    stale: pa.Table
    fresh: pa.Table


def observation_age(
    landing: Landing,
    spec: PipelineSpec,
    reference: ReferenceSpec,
    seen: FileRecord,
    changed: ChangedRows,
    columns: Mapping[str, str],
) -> ObservationAge | None:
    """Look up the observations behind changed rows.

    Args:
        landing: Where the reference landed.
        spec: The pipeline.
        reference: The reference, with `as_of`.
        seen: The file as the fresher revision read it.
        changed: The rows, `MOST_ROWS` at most.
        columns: The reference's column by the feature that is made from it alone.

    Returns:
        None where the reference is not `as_of`, its time is no column of its own, or the landed
        file is not the one that was seen.
    """
    as_of = reference.as_of
    if as_of is None or as_of.time in spec.source.key:
        return None
    rows = _landed(landing, spec, reference, seen)
    if rows is None:
        return None
    lookup = _Lookup(spec=spec, reference=reference, as_of=as_of, rows=rows, changed=changed)
    try:
        return lookup.age(columns)
    except duckdb.Error:  # what was declared then does not fit these rows
        return None


def _landed(
    landing: Landing, spec: PipelineSpec, reference: ReferenceSpec, seen: FileRecord
) -> pa.Table | None:
    try:
        found = landing.read(reference.file, limits=spec.source.limits, columns=reference.columns)
    except BatchinfError:  # gone or damaged since
        return None
    same = found.record.sha256 == seen.sha256
    return conform(found.rows, reference.columns) if same else None


@dataclass(frozen=True, kw_only=True)
class _Lookup:
    spec: PipelineSpec
    reference: ReferenceSpec
    as_of: AsOfSpec
    rows: pa.Table
    changed: ChangedRows

    def age(self, columns: Mapping[str, str]) -> ObservationAge:
        fresh, kept = self._fresh(columns)
        stale, without = self._stale(kept) if kept else (None, None)
        return ObservationAge(
            rows=self.changed.stale.num_rows,
            fresh_seconds=fresh,
            stale_seconds=stale,
            without=without,
        )

    def _fresh(self, columns: Mapping[str, str]) -> tuple[float | None, dict[str, str]]:
        """Return the median age, and the features that hold an observed column as it is."""
        observed = query(
            as_of_sql(self.spec, self.reference, self.as_of),
            {"snapshot": self._source, "reference": self.rows},
            self._bounds,
        )
        same = (
            f"bool_and(f.{quoted(feature)} IS NOT DISTINCT FROM o.{quoted(column)})"
            for feature, column in columns.items()
        )
        median, *holds = self._one_row(
            f"""
            SELECT {", ".join([f"median(epoch({self._time} - o.{self._own_time}))", *same])}
            FROM fresh AS f JOIN source AS s USING ({self._key})
            LEFT JOIN observed AS o USING ({self._key})
            """,  # noqa: S608 - every name is quoted
            {"fresh": self.changed.fresh, "observed": observed},
        )
        kept = dict(each for each, same in zip(columns.items(), holds, strict=True) if same)
        return median, kept

    def _stale(self, kept: Mapping[str, str]) -> tuple[float | None, int]:
        """Return the least median age that explains the values, and how many rows have none."""
        known = f"{self._time} - CAST($lag AS INTERVAL) >= r.{self._own_time}"
        limit = f"{self._time} - r.{self._own_time} <= CAST($max_age AS INTERVAL)"
        matched = (f"s.{quoted(name)} = r.{quoted(name)}" for name in self.as_of.match)
        same = (f"c.{quoted(f)} IS NOT DISTINCT FROM r.{quoted(c)}" for f, c in kept.items())
        empty = " AND ".join(f"c.{quoted(name)} IS NULL" for name in kept)
        median, without = self._one_row(
            f"""
            WITH explained AS (
                SELECT min(epoch({self._time} - r.{self._own_time})) AS age
                FROM stale AS c JOIN source AS s USING ({self._key})
                JOIN reference AS r ON {" AND ".join([known, *matched, *same])}
                WHERE ($max_age IS NULL OR {limit}) AND NOT ({empty})
                GROUP BY {", ".join(f"c.{quoted(name)}" for name in self.spec.source.key)}
            )
            SELECT (SELECT median(age) FROM explained), count(*) FILTER (WHERE {empty})
            FROM stale AS c
            """,  # noqa: S608 - every name is quoted
            {"stale": self.changed.stale, "reference": self.rows},
            self._bounds,
        )
        return median, without

    def _one_row(
        self, sql: str, tables: Mapping[str, pa.Table], bounds: dict[str, object] | None = None
    ) -> list[Any]:
        found = query(sql, {"source": self._source, **tables}, bounds)
        return [column[0].as_py() for column in found.columns]

    @cached_property
    def _source(self) -> pa.Table:
        return query(
            f"SELECT s.* FROM snapshot AS s SEMI JOIN stale USING ({self._key})",  # noqa: S608 - the names are quoted
            {"snapshot": self.changed.snapshot, "stale": self.changed.stale},
        )

    @property
    def _key(self) -> str:
        return ", ".join(quoted(name) for name in self.spec.source.key)

    @property
    def _time(self) -> str:
        return f"s.{quoted(self.spec.source.time)}"

    @property
    def _own_time(self) -> str:
        return quoted(self.as_of.time)

    @property
    def _bounds(self) -> dict[str, object]:
        return {"lag": self.as_of.lag, "max_age": self.as_of.max_age}
