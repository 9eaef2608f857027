"""What the shards of a revision counted is added up, and only where they counted alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from batchinf_assets import attempts
from batchinf_assets.errors import WindowMissing
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.files import OutputRecord
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.registry.profile import NumericBins, Profile
from batchinf_assets.scoring.checkpoints import Checkpoint
from batchinf_assets.scoring.predictions import checkpoints_of, observed_bins, predictions_table
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window, WindowSpec

REVISION = "0123456789abcdef"
PROFILE = Profile(
    rows=3, subjects={"distance": NumericBins(edges=(1.0,), counts=(1, 1), missing=1)}
)


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A revision of which there is no more than checkpoints."""

    project: Project
    spec: PipelineSpec
    window: Window

    def keep(self, index: int, observed: dict[str, tuple[int, ...]]) -> None:
        checkpoints_of(self.project, self.spec, self.window, REVISION).keep(
            Checkpoint(
                revision=REVISION,
                index=index,
                start=index,
                output=self.output(index),
                keys=(),
                checks=(),
                observed=observed,
                seconds={},
                attempt=1,
            )
        )

    def output(self, index: int) -> OutputRecord:
        return OutputRecord(path=f"{REVISION}/{index}", sha256="0" * 64, bytes=1, rows=1)

    def observed(self, shards: int) -> dict[str, list[int]]:
        outputs = tuple(map(self.output, range(shards)))
        manifest = Manifest.model_construct(revision=REVISION, outputs=outputs)
        return observed_bins(self.project, self.spec, self.window, manifest, PROFILE)


@pytest.fixture
def revision(pipeline: Pipeline, tmp_path: Path) -> Revision:
    folders = {name: tmp_path / name for name in ("lake", "landing", "dagster_home", "keys")}
    window = pipeline.spec.window.window("2013-07-04")
    return Revision(project=Project(root=CHECKOUT, **folders), spec=pipeline.spec, window=window)


def test_the_counts_of_all_shards_are_added_up(revision: Revision) -> None:
    revision.keep(0, {"distance": (1, 2, 3)})
    revision.keep(1, {"distance": (10, 0, 0)})
    assert revision.observed(2) == {"distance": [11, 2, 3]}


def test_a_lost_checkpoint_is_named(revision: Revision) -> None:
    revision.keep(0, {"distance": (1, 2, 3)})
    with pytest.raises(WindowMissing, match=r"shard 1 of window 2013-07-04 .* is gone") as missing:
        revision.observed(2)
    assert "Materialize flight_delays/predictions" in missing.value.next_step


@pytest.mark.parametrize(
    "observed",
    [{"distance": (1, 2)}, {"distance": (1, 2, 3, 4)}, {"altitude": (1, 2, 3)}, {"altitude": ()}],
)
def test_counts_by_the_bins_of_another_profile_are_not_added_up(
    revision: Revision, observed: dict[str, tuple[int, ...]]
) -> None:
    revision.keep(0, {"distance": (1, 2, 3)})
    revision.keep(1, observed)
    (subject,) = observed
    with pytest.raises(WindowMissing, match=f"shard 1 .* '{subject}' by other bins") as missing:
        revision.observed(2)
    assert "Materialize flight_delays/predictions" in missing.value.next_step


def test_a_revision_lies_in_the_table_that_attempts_are_fenced_in(revision: Revision) -> None:
    published = predictions_table(revision.project, revision.spec)
    fenced = attempts.predictions_table(revision.project, revision.spec)
    assert (published.folder, published.name) == (fenced.folder, "predictions")


def test_the_checkpoints_of_an_hour_lie_in_a_folder_without_a_colon(revision: Revision) -> None:
    hours = WindowSpec.model_validate({"every": "hour", "start": "2013-07-01"})
    hour = hours.window("2013-07-01-05:00")
    found = checkpoints_of(revision.project, revision.spec, hour, REVISION)
    assert found.folder.parent.name == "2013-07-01-0500" == hour.folder_name
