"""Drop files into a landing place and look at it, on a disk and on S3."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from batchinf_assets.lake.place import Place
from batchinf_assets.project import Project
from batchinf_assets.snapshots.watch import Look, look_at_landing
from batchinf_assets_tests.spec.test_pipeline import toy

SPEC = toy(source__complete={"quiet_for": "PT0S"})
ON_S3 = toy()
"""Nothing has to stay quiet there: an object appears whole."""


def drop(project: Project, window: str, content: bytes = b"rows") -> Place:
    place = project.landing / "in" / f"{window}.parquet"
    place.write_bytes(content)
    return place


def look(project: Project, cursor: str | None, **options: object) -> Look:
    spec = options.pop("spec", SPEC if isinstance(project.landing, Path) else ON_S3)
    return look_at_landing(
        project, spec, cursor, lambda _window: None, datetime.now(UTC), **options
    )


def windows(found: Look) -> list[str]:
    return [arrival.window for arrival in found.plan.arrivals]
