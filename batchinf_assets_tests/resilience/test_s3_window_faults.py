"""A window's run on a lake in S3 whose store fails under it (rows 1, 8, 9 and 10).

What one request does then is `test_s3_faults`'s business.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchinf_assets.attempts import recorder_of, unwritten_attempts
from batchinf_assets.errors import BatchinfError, StorageRefused, StorageUnavailable
from batchinf_assets.lake.presence import Presence
from batchinf_assets.lake.s3_access import S3Limits
from batchinf_assets.lake.table_commits import read_commits
from batchinf_assets.lake.table_log import open_table
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.publishing.proof.verify import Verification, verify_key
from batchinf_assets.publishing.publish import REVISION
from batchinf_assets.publishing.rollback.remedies import judge_damage
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window
from batchinf_assets_tests.publishing.proof.new_look import forget
from batchinf_assets_tests.resilience.fault_proxy import Fault, FaultProxy, fault_proxy
from batchinf_assets_tests.resilience.window_run import (
    DAY,
    outputs,
    project_at,
    run_window,
    shards_computed,
    small_pipeline,
    verified,
)
from batchinf_assets_tests.s3_server import ENVIRON, moto_server, new_bucket, place_at

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

IMPATIENT = S3Limits(
    connect_seconds=1, stall_seconds=0.5, request_seconds=3, retries=2, total_seconds=3
)
PATIENCE_SECONDS = 60.0
TO_BE_KILLED = f"""
import os
from batchinf_assets.project import Project
from batchinf_assets_tests.resilience.window_run import run_window, small_pipeline
pipeline = small_pipeline()
run_window(Project.here(os.environ), pipeline, pipeline.spec.window.window("{DAY}"), "killed")
"""
COMMIT = "/predictions/_delta_log/"
FEATURES = r"/features/window.*\.parquet"
WRITES = [
    *("/_leases/", r"/snapshot/window.*\.parquet", "/snapshot/_delta_log/0+1.json"),
    *("/part-00001", "/_checkpoints/", "/draft.json", r"\.sig$", r"/[0-9a-f]{16}\.json$"),
    *("/predictions/_delta_log/0+0.json", "/predictions/_delta_log/0+1.json"),
    *("/_ledger/_delta_log/0+0.json", "/_ledger/_delta_log/0+1.json"),
]


@dataclass(frozen=True, kw_only=True)
class OnS3:
    """A lake in a bucket of its own, and the two ways to it.

    Attributes:
        proxy: Stands before the server.
        project: Reaches the lake through the proxy and waits seconds for it.
        direct: Reaches it without.
    """

    proxy: FaultProxy
    project: Project
    direct: Project
    pipeline: Pipeline
    window: Window

    @property
    def here(self) -> tuple[Project, Pipeline, Window]:
        return self.direct, self.pipeline, self.window

    def run(self, run_id: str = "run", *, at: str = "", faults: Sequence[Fault] = ()) -> Manifest:
        """Run the window; the store has faults from the stage `at` on."""

        def entering(stage: str) -> None:
            if stage == at:
                self.proxy.inject(*faults)

        return run_window(self.project, self.pipeline, self.window, run_id, entering)

    def heal(self) -> None:
        self.proxy.inject()
        recorder_of(self.project).flush(PATIENCE_SECONDS)

    def attempts(self) -> list[dict[str, Any]]:
        return Ledger(self.direct.lake).read(self.pipeline.name).to_pylist()

    def spooled(self) -> list[Path]:
        return sorted(unwritten_attempts(self.project).glob("*"))


@pytest.fixture(scope="module")
def expected(world: World, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the window is published with on a local disk: the revision, and digests of its files."""
    root, pipeline = tmp_path_factory.mktemp("local"), small_pipeline()
    for part in ("lake", "keys"):
        shutil.copytree(getattr(world, part), root / part)
    project, window = project_at(root, landed(world, root)), pipeline.spec.window.window(DAY)
    run_window(project, pipeline, window, "local")
    recorder_of(project).close()
    return outputs(project, pipeline, window)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture(scope="module")
def relay(server: str) -> Iterator[FaultProxy]:
    with fault_proxy(server) as proxy:
        yield proxy


@pytest.fixture
def on_s3(
    world: World,
    server: str,
    relay: FaultProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> OnS3:
    """An empty lake; the champion is on the local disk."""
    environ = {
        **ENVIRON,
        "AWS_REGION": "us-east-1",
        "BATCHINF_MODELS": str(world.lake / "_models"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{world.lake / '_registry' / 'registry.db'}",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    relay.inject()
    bucket, pipeline = new_bucket(server), small_pipeline()
    shutil.copytree(world.keys, tmp_path / "keys")
    local = project_at(tmp_path, landed(world, tmp_path))
    return OnS3(
        proxy=relay,
        project=replace(local, lake=place_at(relay.url, bucket, limits=IMPATIENT)),
        direct=replace(local, lake=place_at(server, bucket)),
        pipeline=pipeline,
        window=pipeline.spec.window.window(DAY),
    )


def landed(world: World, root: Path) -> Path:
    for path in ("weather.parquet", "planes.parquet", f"flights/{DAY}.parquet"):
        (root / "landing" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(world.landing / path, root / "landing" / path)
    return root / "landing"


def assert_published_once(on_s3: OnS3, expected: list[str]) -> None:
    """Readers see what a local lake shows them, by one commit, and every digest holds."""
    assert outputs(*on_s3.here) == expected
    assert verified(*on_s3.here).problems == ()
    folder = predictions_table(on_s3.direct, on_s3.pipeline.spec).folder
    commits = read_commits(folder, range(open_table(folder).version() + 1))
    assert [commit.metadata.get(REVISION) for commit in commits].count(expected[0]) == 1
    states = [attempt["state"] for attempt in on_s3.attempts()]
    assert (states.count("published"), states[-1]) == (1, "published")
    assert on_s3.spooled() == []


def test_two_503_after_every_twentieth_request_and_a_body_that_stalls_are_survived(
    on_s3: OnS3, expected: list[str]
) -> None:
    stalled = Fault(kind="stall", method="GET", path=FEATURES, times=1)
    refused = [Fault(kind="status", status=503, after=20 * n, times=2) for n in range(1, 100)]
    on_s3.run(at="snapshot", faults=[stalled, *refused])
    met = [seen.fault for seen in on_s3.proxy.seen()]
    assert (met.count("stall"), met.count("status")) >= (1, 20)
    on_s3.heal()
    assert_published_once(on_s3, expected)


def test_every_write_whose_answer_is_lost_is_recognised_as_own_success(
    on_s3: OnS3, expected: list[str]
) -> None:
    lost = [
        # The connection ends, or a 503 comes though it was done.
        Fault(kind="lose_answer", status=(0, 503)[n % 2], method="PUT", path=path, times=1)
        for n, path in enumerate(WRITES)
    ]
    on_s3.run(at="snapshot", faults=lost)
    assert len([seen for seen in on_s3.proxy.seen("PUT") if seen.fault]) == len(WRITES)
    on_s3.heal()
    assert_published_once(on_s3, expected)
    assert [attempt["attempt"] for attempt in on_s3.attempts()] == [1]


@pytest.mark.parametrize(("stage", "after"), [("predictions", 0), ("published", 40)])
def test_503_for_ever_ends_the_run_with_one_sentence_and_publishes_nothing(
    on_s3: OnS3, stage: str, after: int
) -> None:
    with pytest.raises(StorageUnavailable, match="503 Service Unavailable") as failure:
        on_s3.run(at=stage, faults=[Fault(kind="status", status=503, after=after)])
    assert_plain(failure.value)
    assert len(on_s3.proxy.seen()) < after + 100
    assert outputs(*on_s3.here) == []
    assert len(on_s3.spooled()) >= 1
    on_s3.heal()
    assert on_s3.spooled() == []
    (failed,) = [attempt for attempt in on_s3.attempts() if attempt["state"] == "failed"]
    assert (failed["stage"], failed["reason_code"]) == (stage, "storage_unavailable")


def test_a_commit_that_is_forbidden_is_asked_for_once_and_named_in_the_ledger(
    on_s3: OnS3, expected: list[str]
) -> None:
    forbidden = Fault(kind="status", status=403, method="PUT", path=COMMIT)
    with pytest.raises(
        StorageRefused, match=r"refused access to s3://lake-.*_delta_log"
    ) as failure:
        on_s3.run(at="published", faults=[forbidden])
    assert_plain(failure.value)
    assert len(on_s3.proxy.seen("PUT", COMMIT)) == 1
    on_s3.heal()
    assert outputs(*on_s3.here) == []
    (attempt,) = on_s3.attempts()
    assert (attempt["state"], attempt["stage"]) == ("failed", "published")
    assert attempt["reason_code"] == "storage_refused"
    assert shards_computed(on_s3.run("rerun")) == 0
    on_s3.heal()
    assert_published_once(on_s3, expected)


def test_a_body_that_stalls_for_ever_ends_the_run(on_s3: OnS3) -> None:
    with pytest.raises(StorageUnavailable, match="did not answer in time") as failure:
        on_s3.run(at="predictions", faults=[Fault(kind="stall", method="GET", path=FEATURES)])
    assert_plain(failure.value)
    on_s3.heal()
    assert outputs(*on_s3.here) == []
    (attempt,) = on_s3.attempts()
    assert (attempt["state"], attempt["reason_code"]) == ("failed", "storage_unavailable")


def test_a_rerun_after_a_kill_scores_only_the_shards_that_are_missing(
    on_s3: OnS3, expected: list[str]
) -> None:
    on_s3.proxy.inject(Fault(kind="hang", method="PUT", path="part-0000[2-9]"))
    environ = {
        **os.environ,
        "AWS_ENDPOINT_URL": on_s3.proxy.url,
        "BATCHINF_LAKE": str(on_s3.project.lake),
        "BATCHINF_LANDING": str(on_s3.project.landing),
        "BATCHINF_KEYS": str(on_s3.project.keys),
        "DAGSTER_HOME": str(on_s3.project.dagster_home),
    }
    command = [sys.executable, "-c", TO_BE_KILLED]
    with subprocess.Popen(command, env=environ, cwd=CHECKOUT) as process:
        try:
            wait_for_checkpoints(on_s3, 2, process)
        finally:
            process.kill()
    assert outputs(*on_s3.here) == []
    on_s3.proxy.inject()
    assert shards_computed(on_s3.run("rerun")) == len(expected) - 1 - 2
    on_s3.heal()
    assert_published_once(on_s3, expected)
    ended = {attempt["run_id"]: attempt["state"] for attempt in on_s3.attempts()}
    assert ended == {"killed": "killed", "rerun": "published"}


def wait_for_checkpoints(on_s3: OnS3, count: int, process: subprocess.Popen[bytes]) -> None:
    folder = on_s3.direct.lake / on_s3.pipeline.name / "_checkpoints"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len([*folder.rglob("*.json")]) < count:
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline, "it scores nothing"
        time.sleep(0.05)


def assert_plain(error: BatchinfError) -> None:
    """One line that names the place, and neither request, address, signature nor secret."""
    assert "s3://lake-" in error.message
    for trace in ("\n", "http", "Signature", *ENVIRON.values()):
        assert trace not in str(error)


@pytest.mark.parametrize("kind", ["503", "403", "hang"])
def test_a_store_that_fails_while_a_window_is_verified_leaves_it_unknown(
    on_s3: OnS3, kind: str
) -> None:
    on_s3.run()
    impatient = replace(IMPATIENT, stall_seconds=0.2, request_seconds=0.2, retries=0)
    project = replace(
        on_s3.project, lake=place_at(on_s3.proxy.url, on_s3.direct.lake.bucket, limits=impatient)
    )
    spec, registry = on_s3.pipeline.spec, Registry.at(project, os.environ)

    def look(*faults: Fault) -> Verification:
        on_s3.proxy.inject(*faults)
        forget(project, spec)
        return verify_key(project, registry, spec, DAY, Presence.of(project.lake))

    assert look().holds
    revision, asked = look().revision, len(on_s3.proxy.seen())
    commits = open_table(predictions_table(on_s3.direct, spec).folder).version()
    for after in range(0, asked, asked // 8):
        fault = Fault(kind="hang") if kind == "hang" else Fault(kind="status", status=int(kind))
        found = look(replace(fault, after=after))
        assert (found.holds, found.known) == (False, False), (after, found.problems)
        assert all("not known whether it holds" in each for each in found.problems), after
        judged = judge_damage(project, registry, spec, [replace(found, revision=revision)])
        assert all(remedy.damage is None for remedy in judged.values())
    assert look().holds
    assert open_table(predictions_table(on_s3.direct, spec).folder).version() == commits
