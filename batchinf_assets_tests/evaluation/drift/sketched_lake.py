"""A lake of windows that were sketched and published, with as little else as that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batchinf_assets.evaluation.drift.sketches import keep_sketches
from batchinf_assets.lake.files import write_bytes, write_parquet
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.registry.bins import CategoryCounts, NumericBins
from batchinf_assets.registry.profile import Profile
from batchinf_assets.scoring.predictions import (
    REVISION,
    ROWS,
    manifests,
    predictions_table,
    revision_folder,
)
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

FIRST, SECOND = "0123456789abcdef", "fedcba9876543210"
PROFILE = Profile(
    rows=20,
    subjects={
        "distance": NumericBins(
            edges=(1.0, 2.5), counts=(5, 10, 4), missing=1, low=0.5, high=9.0, deviation=2.0
        ),
        "carrier": CategoryCounts(counts={"AA": 12, "": 3, "other": 1}, other=3, missing=1),
    },
)
OTHER_PROFILE = PROFILE.model_copy(update={"rows": 21})
COUNTS = {"distance": [1, 2, 3, 4], "carrier": [0, 1, 2, 3, 4]}
NO_ROWS = {"distance": [0] * 4, "carrier": [0] * 5}


@dataclass(frozen=True, kw_only=True)
class SketchedLake:
    """A pipeline's tables below a folder of their own."""

    project: Project
    spec: PipelineSpec

    @classmethod
    def below(cls, folder: Path, spec: PipelineSpec) -> SketchedLake:
        places = {name: folder / name for name in ("lake", "landing", "dagster_home", "keys")}
        return cls(project=Project(root=CHECKOUT, **places), spec=spec)

    def window(self, key: str) -> Window:
        return self.spec.window.window(key)

    def sketch(
        self,
        key: str,
        counts: dict[str, list[int]] = COUNTS,
        *,
        revision: str = FIRST,
        profile: Profile = PROFILE,
    ) -> Path:
        place = keep_sketches(self.project, self.spec, self.window(key), revision, profile, counts)
        assert isinstance(place, Path)
        return place

    def publish(self, key: str, revision: str = FIRST, rows: int = 1) -> None:
        """Commit a file of the revision, or its having none; the manifest is no more than there."""
        window, table = self.window(key), predictions_table(self.project, self.spec)
        write_bytes(manifests(self.project, self.spec).path(window, revision), b"{}")
        place = revision_folder(self.project, self.spec, window, revision) / "0.parquet"
        nothing = arrow_schema(self.spec.prediction_table).empty_table()
        files = [write_parquet(place, nothing, {})] if rows else []
        table.commit(window, files, {REVISION: revision, ROWS: str(rows)})

    def published_and_sketched(self, keys: Sequence[str], profile: Profile = PROFILE) -> None:
        for key in keys:
            self.sketch(key, profile=profile)
            self.publish(key)
