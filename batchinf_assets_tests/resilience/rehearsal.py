"""Runs of a small window in forks of one warm process, and what must be true after each.

Importing everything takes seconds, a window of some hundred rows half of one.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from batchinf_assets.code_version import running_code
from batchinf_assets.errors import BatchinfError
from batchinf_assets.evaluation.golden.golden_run import measure_golden
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.model import scoring_model
from batchinf_assets.snapshots.freeze import read_source
from batchinf_assets_tests.resilience.crash_scenes import (
    Expected,
    Scene,
    lasting_files,
    set_scenes,
    temporary_files,
)
from batchinf_assets_tests.resilience.folder_faults import Change, run_stopped
from batchinf_assets_tests.resilience.forks import Fork
from batchinf_assets_tests.resilience.window_run import (
    DAY,
    STAGES,
    attempt_under_way,
    fingerprint,
    finished_shards,
    keys_of,
    landed_keys,
    maintain,
    outputs,
    project_at,
    recorded_state,
    run_window,
    shards_computed,
    small_pipeline,
    verified,
    visible_rows,
)

ENDINGS = {"killed", "published", "unchanged"}
"""How the ledger may speak of a killed attempt: it may have died after its work was done."""
LATER_DAYS = 7
"""Past `staging_days`, long before anything that was published expires."""


class Rehearsal:
    """Both scenes, each run once without a fault, so that it is known what a run makes.

    Nothing here touches DuckDB, Delta or a thread pool but in a fork: forks must start clean.

    Args:
        world: Has `lake` (nothing but a registry with a champion), `keys` and `landing`.
        folder: Where to work; empty.
    """

    def __init__(self, world: Path, folder: Path) -> None:
        self.folder = folder
        self.pipeline = small_pipeline()
        self.window = self.pipeline.spec.window.window(DAY)
        self._stage = mmap.mmap(-1, 1)
        self._warm_up(world)
        self.scenes = {scene.name: scene for scene in set_scenes(folder / "scenes", world)}
        Fork(self._publish_early).result()
        self.expected = {name: self._rehearse(scene) for name, scene in self.scenes.items()}

    @property
    def stage(self) -> str:
        """The stage that the last run entered."""
        return STAGES[self._stage[0]]

    def own_stage(self) -> None:
        """Tell this process's runs from those of the process it was forked from."""
        self._stage = mmap.mmap(-1, 1)

    def run(self, scene: Scene, root: Path, run_id: str) -> Manifest:
        """Run the window as `run_id`."""
        self._stage[0] = 0

        def entering(stage: str) -> None:
            self._stage[0] = STAGES.index(stage)

        return run_window(scene.project(root), self.pipeline, self.window, run_id, entering)

    def recovery(self, scene: Scene, root: Path, expected: Expected) -> Iterator[str]:
        """Run the window again after a fault, and name every promise that does not hold."""
        project, place = scene.project(root), (self.pipeline, self.window)
        yield from self.state(scene, root, expected)
        killed = attempt_under_way(project, *place)
        finished = finished_shards(project, *place, expected.outputs[0])
        was_visible = outputs(project, *place) == expected.outputs
        try:
            scored = self.run(scene, root, "rerun")
        except BatchinfError as error:
            yield f"rerun: {error}"
            return
        missing, computed = len(expected.outputs) - 1 - finished, shards_computed(scored)
        if not was_visible and computed != missing:
            yield f"computed: {computed} shards again where {missing} were missing"
        if killed and recorded_state(project, *place, killed) not in ENDINGS:
            yield f"ledger: attempt {killed} is {recorded_state(project, *place, killed)}"
        if self.seen(scene, root) != (expected.after, expected.outputs):
            yield f"digest: the rerun published {self.seen(scene, root)[1]}"
        yield from self.state(scene, root, expected)
        yield from self.wrong_rows(scene, root)
        left = {*lasting_files(root)} - {*expected.files}
        yield from (f"left over: {name}" for name in sorted(left))
        maintain(project, self.pipeline, LATER_DAYS)
        yield from self.state(scene, root, expected)
        yield from (f"temporary: {name}" for name in temporary_files(root))

    def state(self, scene: Scene, root: Path, expected: Expected) -> Iterator[str]:
        """Name every promise to readers that does not hold now."""
        rows, made = self.seen(scene, root)
        if rows not in (expected.before, expected.after):
            yield "mixed: neither the old nor the new revision is visible"
        if rows == expected.after and made != expected.outputs:
            yield f"digest: published {made} instead of {expected.outputs}"
        if made:
            verdict = verified(scene.project(root), self.pipeline, self.window)
            yield from (f"unverified: {problem}" for problem in verdict.problems)

    def seen(self, scene: Scene, root: Path) -> tuple[str, list[str]]:
        """Return the fingerprint of what readers see, and the published revision with its files."""
        project = scene.project(root)
        rows = visible_rows(project, self.pipeline)
        return fingerprint(rows), outputs(project, self.pipeline, self.window)

    def wrong_rows(self, scene: Scene, root: Path) -> Iterator[str]:
        """Hold the published keys against those that landed."""
        rows = visible_rows(scene.project(root), self.pipeline)
        found = keys_of(rows, self.pipeline) if rows is not None else []
        landed = {*landed_keys(scene.landing, self.pipeline)}
        if landed != {*found}:
            yield f"lost: {len(landed - {*found})} rows, and {len({*found} - landed)} never landed"
        if len(found) > len({*found}):
            yield f"doubled: {len(found) - len({*found})} rows"

    def _warm_up(self, world: Path) -> None:
        project = project_at(world, world / "landing")
        running_code()
        model = scoring_model(Registry.at(project, {}), self.pipeline, datetime.now(UTC))
        measure_golden(project, self.pipeline.spec, model)
        read_source(project, self.pipeline.spec, self.window)

    def _publish_early(self) -> None:
        root = self.scenes["correction"].template
        project = project_at(root, self.folder / "scenes" / "early")
        run_window(project, self.pipeline, self.window, "early")

    def _rehearse(self, scene: Scene) -> Expected:
        root = self.folder / f"rehearsal-{scene.name}"
        scene.copy_to(root)
        before, _ = Fork(lambda: self.seen(scene, root)).result()
        changes: list[tuple[str, str, str]] = []

        def note(_number: int, change: Change) -> None:
            path = change.path.replace(str(os.getpid()), "")
            changes.append((self.stage, change.syscall, path))

        code = run_stopped(lambda: self.run(scene, root, "rehearsal"), root, note)
        after, made = Fork(lambda: self.seen(scene, root)).result()
        wrong = Fork(lambda: list(self.wrong_rows(scene, root))).result()
        if code or wrong or before == after:
            raise SystemExit(f"The rehearsal of {scene.name} shows nothing: {code} {wrong}")
        return Expected(
            before=before, after=after, outputs=made, files=lasting_files(root), changes=changes
        )
