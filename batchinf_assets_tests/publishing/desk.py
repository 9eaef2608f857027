"""One window's desk: what a run does to it, what a forger would, and what readers see of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from batchinf_assets.attempts import attempting
from batchinf_assets.errors import LostRace
from batchinf_assets.evaluation.evaluate import evaluate_window
from batchinf_assets.features.build import build_features
from batchinf_assets.lake.manifests import ManifestStore
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.publishing.publish import Publication, publish_window
from batchinf_assets.publishing.signed import sign_manifest
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.keys import SigningKey, load_signing_key
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.predictions import (
    manifests,
    predictions_table,
    published_revision,
    revision_folder,
)
from batchinf_assets.scoring.score import score_window
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

if TYPE_CHECKING:
    pass

NOW = datetime(2013, 7, 4, 5, tzinfo=UTC)
DAY = "2013-07-04"


@dataclass(frozen=True)
class Held:
    """A lease that nobody takes over, or one that somebody took over already."""

    token: int = 1
    lost: bool = False

    def require_held(self) -> None:
        if self.lost:
            raise LostRace("Another run took the window over.", next_step="Look at it.")


@dataclass(frozen=True)
class Desk:
    """One window's desk: what a run does to it, and what readers see of it."""

    project: Project
    pipeline: Pipeline
    window: Window
    model: ScoringModel

    @property
    def spec(self) -> PipelineSpec:
        return self.pipeline.spec

    @property
    def registry(self) -> Registry:
        return Registry.at(self.project, {})

    @property
    def source(self) -> Path:
        return self.project.landing / "flights" / f"{self.window}.parquet"

    def prepare(self, run_id: str = "run") -> Manifest:
        """Run everything up to evaluation."""
        self.score(run_id)
        return evaluate_window(self.project, self.spec, self.window, self.model).manifest

    def score(self, run_id: str = "run") -> None:
        """Run everything before evaluation."""
        project, pipeline, window = self.project, self.pipeline, self.window
        freeze_snapshot(project, self.spec, window)
        build_features(project, pipeline, window)
        with attempting(project, self.spec, window, run_id=run_id, stage="predictions") as attempt:
            score_window(project, pipeline, window, self.model, attempt=attempt, now=NOW)

    def publish(self, now: datetime = NOW, lease: Held = Held()) -> Publication:
        return publish_window(
            self.project,
            self.registry,
            self.pipeline,
            self.window,
            key=self.key,
            lease=lease,
            now=now,
        )

    @property
    def key(self) -> SigningKey:
        return load_signing_key(self.project.keys, {})

    def draft(self) -> Manifest:
        found = manifests(self.project, self.spec).draft(self.window)
        assert found is not None
        return found

    def redraft(self, **changes: object) -> Manifest:
        """Write another draft, as a bug or a forger would."""
        changed = self.draft().model_copy(update=changes)
        manifests(self.project, self.spec).write_draft(self.window, changed)
        return changed

    def remanifest(self, **changes: object) -> None:
        """Write over the published manifest, as a forger would who has no key."""
        path = self.store.path(self.window, self.visible() or "")
        path.write_bytes(self.published().model_copy(update=changes).to_json())

    def sign_again(self, key: SigningKey | None = None, **changes: object) -> None:
        """Sign another manifest in the place of the published one, as who has a key could."""
        changed = self.published().model_copy(update=changes)
        signed = sign_manifest(changed, key or self.key, read_keyring(self.project.keys))
        self.store.write(self.window, signed, require_held=Held().require_held)

    @property
    def store(self) -> ManifestStore:
        return manifests(self.project, self.spec)

    def published(self) -> Manifest:
        return self.store.read(self.window, self.visible() or "")

    def signature(self) -> Path:
        (path,) = self.store.signatures(self.window, self.visible() or "").values()
        return Path(path)

    def visible(self) -> str | None:
        return published_revision(self.project, self.spec, self.window)

    def rows(self) -> pa.Table:
        """What any reader of Delta sees, in key order."""
        table = DeltaTable(predictions_table(self.project, self.spec).folder).to_pyarrow_table()
        return table.sort_by([(name, "ascending") for name in self.spec.source.key])

    def output(self, revision: str) -> Path:
        folder = revision_folder(self.project, self.spec, self.window, revision)
        return folder / "part-00000.parquet"

    def correct(self, change: Callable[[pa.Table], pa.Table]) -> None:
        """Land the source file again with other rows."""
        pq.write_table(change(pq.read_table(self.source)), self.source)
