"""Manifests written by hand, for tests that need no lake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.manifest.inputs import FeaturesRecord, SnapshotRecord, WindowRecord
from batchinf_assets.manifest.means import CodeRecord, ModelRecord, SettingsRecord
from batchinf_assets.manifest.work import CountsRecord

REVISION = "0123456789abcdef"
SOURCE = FileRecord(path="flights/2013-07-04.parquet", sha256="5" * 64, bytes=123)

WRITTEN = Manifest(
    pipeline="flight_delays",
    owner="flights-ml@example.com",
    window=WindowRecord(
        key="2013-07-04",
        start=datetime(2013, 7, 4, 4, tzinfo=UTC),
        end=datetime(2013, 7, 5, 4, tzinfo=UTC),
    ),
    revision=REVISION,
    snapshot=SnapshotRecord(digest="a" * 64, rows=4, source=SOURCE, contract="1" * 64),
    features=FeaturesRecord(
        digest="b" * 64,
        rows=4,
        definition="c" * 64,
        references=(),
        absent=(),
        contract="2" * 64,
    ),
    model=ModelRecord(name="m", version="1", alias="champion", digest="d" * 64, scorer="trees"),
    code=CodeRecord(
        version="0.1.0", source="e" * 64, python="3.11.2", libraries={"numpy": "2.4", "duckdb": "2"}
    ),
    settings=SettingsRecord(prediction_column="p", shard_rows=2, postprocess="f" * 64),
    counts=CountsRecord(rows_in=4, scored=4, quarantined=0),
    outputs=(),
    checks=(),
    timings={"score": 2.0, "read": 1.0},
    run_id="run",
    scored_at=datetime(2013, 7, 5, 5, tzinfo=UTC),
)


def manifest(**changes: Any) -> Manifest:
    """Return a manifest with other values; of a record only those that are named."""
    document = WRITTEN.model_dump()
    for name, value in changes.items():
        own = document[name]
        document[name] = {**own, **value} if isinstance(own, dict) else value
    return Manifest.model_validate(document)
