"""The event log keeps its databases open, and stays Dagster's own in every other way."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from batchinf_assets.errors import UsageError
from batchinf_assets.orchestration.event_log import (
    OPEN_DATABASES,
    OpenSqliteEventLogStorage,
    stored_together,
)
from batchinf_assets.project import CHECKOUT

KEY = dg.AssetKey("made")

READ_BY_ANOTHER_PROCESS = """
import sys, dagster as dg
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    print(*sorted(instance.get_materialized_partitions(dg.AssetKey("made"))))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with the checkout's settings."""
    shutil.copy(CHECKOUT / "deploy" / "local" / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as found:
        yield found


def make(instance: dg.DagsterInstance, partition: str) -> str:
    @dg.asset(key=KEY, partitions_def=dg.StaticPartitionsDefinition(["a", "b", "c"]))
    def made() -> None: ...

    return dg.materialize([made], instance=instance, partition_key=partition).run_id


def partitions(instance: dg.DagsterInstance) -> set[str]:
    return instance.get_materialized_partitions(KEY)


def test_the_checkouts_settings_name_it_and_it_lies_where_dagsters_own_would(
    instance: dg.DagsterInstance, home: Path
) -> None:
    assert isinstance(instance.event_log_storage, OpenSqliteEventLogStorage)
    make(instance, "a")
    assert (home / "history" / "runs" / "index.db").exists()


def test_what_it_stored_dagsters_own_storage_reads_and_the_other_way_round(
    instance: dg.DagsterInstance, home: Path
) -> None:
    run_id = make(instance, "a")
    (home / "dagster.yaml").unlink()
    with dg.DagsterInstance.from_config(str(home)) as plain:
        assert type(plain.event_log_storage) is SqliteEventLogStorage
        assert partitions(plain) == {"a"}
        seen = [record.dagster_event_type for record in plain.all_logs(run_id)]
        make(plain, "b")
    assert partitions(instance) == {"a", "b"}
    assert [record.dagster_event_type for record in instance.all_logs(run_id)] == seen


def test_another_process_sees_what_was_logged_while_the_database_is_open(
    instance: dg.DagsterInstance, home: Path
) -> None:
    make(instance, "a")
    make(instance, "c")
    command = [sys.executable, "-c", READ_BY_ANOTHER_PROCESS, str(home)]
    seen = subprocess.run(command, check=True, capture_output=True, text=True, cwd=CHECKOUT)
    assert seen.stdout.split() == ["a", "c"]


def test_more_runs_than_databases_stay_open_are_all_read_again(
    instance: dg.DagsterInstance,
) -> None:
    runs = [make(instance, "a") for _ in range(OPEN_DATABASES + 2)]
    for run_id in runs:
        assert instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_SUCCESS)


def test_threads_take_turns(instance: dg.DagsterInstance) -> None:
    runs = [make(instance, "a"), make(instance, "b")]
    with ThreadPoolExecutor(4) as readers:
        counts = [*readers.map(lambda run_id: len(instance.all_logs(run_id)), runs * 10)]
    assert counts == [len(instance.all_logs(run_id)) for run_id in runs * 10]


def test_without_a_home_or_a_folder_it_says_what_to_set(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    with (
        pytest.raises(UsageError, match="where Dagster's event log lies") as refused,
        dg.DagsterInstance.from_config(str(home)),
    ):
        pass
    assert "Set DAGSTER_HOME" in refused.value.next_step


def test_after_a_wipe_it_begins_anew(instance: dg.DagsterInstance) -> None:
    make(instance, "a")
    instance.wipe()
    assert partitions(instance) == set()
    make(instance, "b")
    assert partitions(instance) == {"b"}


def test_events_stored_together_are_read_at_the_end_and_those_of_other_threads_at_once(
    instance: dg.DagsterInstance,
) -> None:
    log = instance.event_log_storage
    with ThreadPoolExecutor(1) as beside, stored_together(log):
        report(instance, "a")
        beside.submit(report, instance, "b").result(30)  # nobody waits for this thread
        assert partitions(instance) == {"b"}
    assert partitions(instance) == {"a", "b"}


def test_what_was_logged_before_a_failure_is_stored(instance: dg.DagsterInstance) -> None:
    def fail_after_a_report() -> None:
        with stored_together(instance.event_log_storage):
            report(instance, "a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_a_report()
    assert partitions(instance) == {"a"}


def report(instance: dg.DagsterInstance, partition: str) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=partition))


def test_a_check_that_is_stored_opens_no_database_again(instance: dg.DagsterInstance) -> None:
    def judge(partition: str) -> None:
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=KEY, check_name="fresh", passed=True, metadata={}, partition=partition
            )
        )

    make(instance, "a")
    judge("a")
    opened: list[object] = []
    watching = [True]

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "sqlite3.connect":
            opened.append(arguments[0])

    sys.addaudithook(hear)  # stays, and is deaf from then on
    judge("b")
    watching.clear()
    assert opened == []
    log = instance.event_log_storage
    found = log.get_asset_check_execution_history(dg.AssetCheckKey(KEY, "fresh"), limit=5)
    assert len(found) == 2
