"""The SQL that figures are computed by, in `evaluation/sql/`."""

from batchinf_assets.lake.query import Statement, sql_beside


def statement(name: str) -> Statement:
    """Read one, by its file's name."""
    return sql_beside(__file__, f"sql/{name}")
