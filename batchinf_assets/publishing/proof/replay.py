"""Score a published window again, from what its manifest names, and compare what comes out.

Nothing is written to the lake. That files and signatures are as published is `proof.verify`'s
business; here the question is whether the same inputs still give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import Literal

import pyarrow as pa

from batchinf_assets.checks import summarize
from batchinf_assets.code_version import running_code
from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.features.build import (
    feature_definition,
    feature_rows,
    made_rows,
)
from batchinf_assets.features.views import build_views
from batchinf_assets.lake.digest import RowsDigest, content_digest
from batchinf_assets.lake.entries import is_file
from batchinf_assets.lake.files import holds, read_parquet, write_parquet
from batchinf_assets.lake.layout import row_group_rows
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.files import FileRecord, OutputRecord
from batchinf_assets.project import Project
from batchinf_assets.publishing.proof.past_declaration import declared_then
from batchinf_assets.publishing.row_keys import output_files, read_quarantine, without
from batchinf_assets.publishing.signed import read_signed_manifest
from batchinf_assets.publishing.visible import nothing_visible
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import open_version
from batchinf_assets.scoring.checkpoints import Checkpoints
from batchinf_assets.scoring.engine import finish_shards
from batchinf_assets.scoring.model import candidate_model, version_of
from batchinf_assets.scoring.predictions import (
    changed_files,
    manifests,
    predictions_table,
    published_revision,
)
from batchinf_assets.scoring.shard_scoring import ShardScoring
from batchinf_assets.scoring.shards import plan_shards
from batchinf_assets.snapshots.freeze import frozen_rows
from batchinf_assets.snapshots.landing import Landing
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

FeaturesFrom = Literal["rebuilt", "frozen"]


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What scoring a published window again gave.

    Attributes:
        window: Its key.
        revision: The published revision.
        same_rows: Whether the same rows came out.
        same_bytes: Whether every file came out byte by byte.
        features: `rebuilt` from the frozen snapshot and landed files, or the `frozen` ones as they
            were kept; `notes` say why.
        rows: How many rows came out.
        published_digest: Content digest of the published rows.
        replayed_digest: Content digest of the rows that came out.
        notes: What was not as it was, one sentence each.
    """

    window: str
    revision: str
    same_rows: bool
    same_bytes: bool
    features: FeaturesFrom
    rows: int
    published_digest: str
    replayed_digest: str
    notes: tuple[str, ...]


def replay_window(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    window: Window,
    *,
    scratch: Path | None = None,
) -> Replay:
    """Score the visible revision of a window again and compare; the lake is only read.

    Features are made again where the feature definition was kept and the landed files that they
    were made from still hold the recorded bytes; files that have landed since are not looked at.

    Args:
        project: Where the tables and the landed files are.
        registry: Whose artifacts and keys count; a model need only be authentic, not valid now.
        pipeline: The pipeline as it is declared now.
        window: The window.
        scratch: Folder for temporary files; that of the system if None.

    Raises:
        WindowMissing: Nothing is published.
        ManifestInvalid: The manifest is not signed, or a file that it names is gone or damaged.
        KeyringInvalid: There is no keyring.
        ModelRefused: The model is not what was signed.
        NotReplayable: Post-processing was another one.
        FeatureSqlFailed: DuckDB refuses the SQL of then.
        WindowRefused: What comes out breaks the contract that is declared now.
        Preempted: The process was asked to leave.
        OSError: The scratch folder cannot be written.
    """
    revision = published_revision(project, pipeline.spec, window)
    if revision is None:
        raise nothing_visible(project, pipeline.spec, window)
    store = manifests(project, pipeline.spec)
    manifest = read_signed_manifest(store, window, revision, read_keyring(registry.keys)).manifest
    with TemporaryDirectory(prefix="batchinf-replay-", dir=scratch) as folder:
        replaying = _Replaying(
            project=project,
            registry=registry,
            window=window,
            manifest=manifest,
            scratch=Path(folder),
        )
        return replaying.run(pipeline)


@dataclass(frozen=True, kw_only=True)
class _Features:
    """Features to score, and what is to be said about them."""

    groups: RowGroups
    source: FeaturesFrom
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Replaying:
    project: Project
    registry: Registry
    window: Window
    manifest: Manifest
    scratch: Path

    def run(self, current: Pipeline) -> Replay:
        manifest, version = self.manifest, version_of(self.manifest)
        card = open_version(self.registry, version, None).card
        then = declared_then(
            self.project, current, manifest, card.input_schema, self.scratch / "then"
        )
        features = self._features(then)
        model = candidate_model(self.registry, version, then, None)
        done = finish_shards(
            ShardScoring(
                pipeline=then,
                window=self.window,
                features=features.groups,
                scorer=model.scorer,
                profile=model.artifact.profile,
            ),
            plan_shards(features.groups.rows, manifest.settings.shard_rows),
            self.scratch / "predictions",
            Checkpoints(
                folder=self.scratch / "checkpoints", table=self.scratch, revision=manifest.revision
            ),
            attempt=1,
            require_held=lambda: None,
        )
        outputs = [checkpoint.output for checkpoint in done.checkpoints]
        notes = (*_other_code(manifest, model.scorer.name), *features.notes)
        return self._compared(then.spec, outputs, features.source, notes)

    def _features(self, then: Pipeline) -> _Features:
        """Make the features again, or take the ones that were kept and say why."""
        problems = tuple(self._other_inputs(then))
        snapshot = None if problems else self._snapshot(then.spec)
        if snapshot is not None:
            return self._rebuilt(then, snapshot)
        return self._frozen(then, problems or ("The snapshot of then is gone or damaged.",))

    def _other_inputs(self, then: Pipeline) -> Iterator[str]:
        if feature_definition(then) != self.manifest.features.definition:
            yield "The feature definition of then was not kept."
        for file in self.manifest.features.references:
            yield from _changed(self.project.landing / file.path, file)

    def _snapshot(self, spec: PipelineSpec) -> pa.Table | None:
        record = self.manifest.snapshot
        try:
            rows = read_parquet(frozen_rows(self.project, spec, self.window, record).place)
        except ManifestInvalid:
            return None
        return rows if content_digest(rows, spec.source.key) == record.digest else None

    def _rebuilt(self, then: Pipeline, snapshot: pa.Table) -> _Features:
        record = self.manifest.features
        views = build_views(self._landing_of_then(), then.spec, self.window, snapshot)
        made, _ = feature_rows(then, self.window, views)
        rows = self._kept(then.spec, made)
        cut = record.row_group_rows or row_group_rows(self.manifest.settings.shard_rows)
        place = self.scratch / "features.parquet"
        write_parquet(place, rows, {}, row_group_rows=cut, scan=True)
        same = content_digest(rows, then.spec.source.key) == record.digest
        notes = () if same else ("Other features came out.",)
        return _Features(groups=RowGroups(place), source="rebuilt", notes=notes)

    def _kept(self, spec: PipelineSpec, made: pa.Table) -> pa.Table:
        """Leave out what was set aside then; today's rules may be others."""
        quarantine = read_quarantine(self.project, spec, self.manifest)
        if not quarantine.check.passed:
            raise ManifestInvalid(
                f"Window {self.window} of {spec.name}: {summarize([quarantine.check])}.",
                next_step="Restore the file from a backup.",
            )
        return pa.concat_tables(without(iter([made]), quarantine.features))

    def _frozen(self, then: Pipeline, problems: tuple[str, ...]) -> _Features:
        record, snapshot = self.manifest.features, self.manifest.snapshot.digest
        groups = made_rows(self.project, then.spec, self.window, record, snapshot)
        if _digest([groups], then.spec.source.key, groups.schema) != record.digest:
            raise ManifestInvalid(
                f"{groups.place} does not hold the features that were scored.",
                next_step="Restore the file from a backup.",
            )
        return _Features(groups=groups, source="frozen", notes=problems)

    def _landing_of_then(self) -> Landing:
        """Show the recorded files alone: what landed later was not known then."""
        folder = self.scratch / "landing"
        for file in self.manifest.features.references:
            shown = folder / file.path
            shown.parent.mkdir(parents=True, exist_ok=True)
            _show(self.project.landing / file.path, shown)
        return Landing(folder, self.project.shown(self.project.landing))

    def _compared(
        self,
        spec: PipelineSpec,
        outputs: Sequence[OutputRecord],
        features: FeaturesFrom,
        notes: Sequence[str],
    ) -> Replay:
        manifest = self.manifest
        table = predictions_table(self.project, spec).folder
        damaged = (
            f"Published rows must be {v.rule}." for v in changed_files(table, manifest.outputs)
        )
        key, empty = spec.source.key, arrow_schema(spec.prediction_table)
        published = _digest(output_files(self.project, spec, manifest), key, empty)
        replayed = _digest([RowGroups(self.scratch / o.path) for o in outputs], key, empty)
        before = [output.sha256 for output in manifest.outputs]
        return Replay(
            window=self.window.key,
            revision=manifest.revision,
            same_rows=published == replayed,
            same_bytes=before == [output.sha256 for output in outputs],
            features=features,
            rows=sum(output.rows for output in outputs),
            published_digest=published,
            replayed_digest=replayed,
            notes=(*notes, *damaged),
        )


def _other_code(manifest: Manifest, scorer: str) -> Iterator[str]:
    then, now = manifest.code, running_code()
    if then.source != now.source:
        found = f" of commit {then.commit}" if then.commit else ""
        yield f"It was scored by other code{found}."
    was = {"python": then.python, **then.libraries}
    for name, version in {"python": now.python, **now.libraries}.items():
        if was.get(name) != version:
            yield f"It was scored with {name} {was.get(name, '(unknown)')}, not {version}."
    if scorer != manifest.model.scorer:
        yield f"It was scored by {manifest.model.scorer}, not by {scorer}."


def _show(landed: Place, at: Path) -> None:
    if isinstance(landed, Path):
        at.symlink_to(landed.absolute())
        return
    with landed.open() as source, at.open("wb") as copy:
        copyfileobj(source, copy)


def _changed(path: Place, file: FileRecord) -> Iterator[str]:
    if not holds(path, file.bytes, file.sha256):
        found = "another one than was read then" if is_file(path) else "gone"
        yield f"Landed file {file.path} is {found}."


def _digest(files: Sequence[RowGroups], key: Sequence[str], empty: pa.Schema) -> str:
    schema = files[0].schema if files else empty
    try:
        digest = RowsDigest(schema, key, threads=pa.cpu_count())
        for file in files:
            for group in file.all():
                digest.update(group)
    except (TypeError, ValueError) as error:
        raise ManifestInvalid(
            f"The rows in {files[0].place.parent} are not of one shape and in key order: {error}.",
            next_step="Restore the files from a backup.",
        ) from error
    return digest.hexdigest()
