"""Which runs wait for an approval, which are stopped, and what an approval lets them do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import ManifestInvalid, Overrun, RunOverCap
from batchinf_assets.project import Project
from batchinf_assets.publishing.backfill.caps import (
    SPENT,
    Budget,
    Capped,
    capped_run,
    cost_of,
    opened_budget,
)
from batchinf_assets.publishing.backfill.run_approvals import FOLDER, approve_run, run_approval
from batchinf_assets.snapshots.approvals import new_approval
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.run import BackfillSpec, CapsSpec, PriceSpec
from batchinf_assets.telemetry.attempt import AttemptRecord
from batchinf_assets.telemetry.ledger import Ledger

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
PRICE = PriceSpec(machine_hour=3.6, currency="EUR")
DECLARED = load_pipeline("flight_delays").spec
DAYS = DECLARED.window.between("2013-07-01", "2013-07-04")
ROWS = 100


def spec(price: PriceSpec | None = PRICE, **caps: float) -> PipelineSpec:
    return DECLARED.model_copy(update={"caps": CapsSpec(**caps), "price": price})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Four days of a hundred rows have landed."""
    (tmp_path / "landing" / "flights").mkdir(parents=True)
    for day in DAYS:
        path = tmp_path / "landing" / "flights" / f"{day}.parquet"
        pq.write_table(pa.table({"n": list(range(ROWS))}), path)
    return Project(
        root=tmp_path,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )


def record(project: Project, window: str, ended: datetime = NOW, **changes: Any) -> None:
    fields: dict[str, Any] = {
        "pipeline": "flight_delays",
        "window": window,
        "attempt": 1,
        "run_id": "run",
        "state": "published",
        "stage": "published",
        "started_at": ended - timedelta(minutes=1),
        "ended_at": ended,
        "worker": "host:1",
    }
    Ledger(project.lake).append([AttemptRecord(**fields | changes)])


@pytest.fixture
def history(project: Project) -> None:
    """One window of a hundred rows took ten seconds by row and two besides."""
    seconds = {"snapshot": 2.0, "features": 3.0, "predictions": 5.0, "published": 2.0}
    record(
        project,
        "2013-06-30",
        NOW - timedelta(days=9),
        rows=ROWS,
        shards_total=1,
        shards_computed=1,
        stage_seconds=seconds,
    )


def looked(project: Project, declared: PipelineSpec, now: datetime = NOW) -> Capped:
    return capped_run(project, declared, DAYS, now)


def code(found: Capped) -> str | None:
    return found.refusal.reason if found.refusal else None


def approve(
    project: Project,
    declared: PipelineSpec,
    days: Sequence[Any] = DAYS,
    at: datetime = NOW,
    **caps: float,
) -> None:
    given = new_approval(by="ann", reason="Once", at=at)
    approve_run(project, declared, days, CapsSpec(**caps), given)


@pytest.mark.usefixtures("history")
def test_a_run_is_predicted_by_its_rows_and_priced(project: Project) -> None:
    outlook = looked(project, spec(seconds=1000)).outlook
    assert (outlook.rows, outlook.seconds) == (400, pytest.approx(48.0))
    assert outlook.cost == pytest.approx(0.048)


@pytest.mark.usefixtures("history")
def test_windows_that_are_worked_on_side_by_side_take_their_share_of_the_time(
    project: Project,
) -> None:
    declared = spec(seconds=1000).model_copy(update={"backfill": BackfillSpec(workers=2)})
    outlook = looked(project, declared).outlook
    assert (outlook.rows, outlook.seconds) == (400, pytest.approx(24.0))
    assert outlook.cost == pytest.approx(0.024)


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("caps", "sentence"),
    [
        ({"seconds": 47.0}, "is predicted to take 48.0 s, its cap is 47.0 s."),
        ({"cost": 0.04}, "is predicted to take 0.048 EUR, its cap is 0.04 EUR."),
    ],
)
def test_a_run_predicted_above_its_cap_waits_for_an_approval(
    project: Project, caps: dict[str, float], sentence: str
) -> None:
    found = looked(project, spec(**caps))
    assert code(found) == Overrun.PREDICTED
    assert found.refusal is not None
    assert found.refusal.message.endswith(sentence)
    assert "4 windows (2013-07-01 to 2013-07-04)" in found.refusal.message
    assert "`batchinf caps flight_delays --from 2013-07-01 --to 2013-07-04`" in str(found.refusal)


@pytest.mark.usefixtures("history")
def test_a_run_below_its_caps_starts(project: Project) -> None:
    assert code(looked(project, spec(seconds=49, cost=0.05))) is None


def test_a_missing_price_is_unknown_and_never_zero(project: Project) -> None:
    assert cost_of(10.0, None) is None
    assert cost_of(None, PRICE) is None
    found = looked(project, spec(price=None, cost=1000.0))
    assert (code(found), found.outlook.cost) == (Overrun.PRICE_UNKNOWN, None)
    assert code(looked(project, spec(price=None, seconds=1000.0))) is None


def test_a_declared_price_of_nothing_is_a_price(project: Project) -> None:
    free = PriceSpec(machine_hour=0, currency="EUR")
    assert code(looked(project, spec(price=free, cost=1))) is None


def test_a_time_that_nobody_can_predict_lets_the_run_start(project: Project) -> None:
    found = looked(project, spec(seconds=0.001))
    assert (code(found), found.outlook.rows, found.outlook.seconds) == (None, 400, None)


@pytest.mark.usefixtures("history")
def test_rows_that_no_footer_tells_make_the_prediction_unknown(project: Project) -> None:
    (project.landing / "flights" / f"{DAYS[0]}.parquet").unlink()
    outlook = looked(project, spec(seconds=1)).outlook
    assert (outlook.rows, outlook.seconds, outlook.cost) == (None, None, None)


@pytest.mark.usefixtures("history")
def test_an_approval_counts_for_its_windows_its_caps_and_a_day(project: Project) -> None:
    declared = spec(seconds=1)
    approve(project, declared, DAYS[:3], seconds=1000)
    assert code(looked(project, declared)) == Overrun.PREDICTED  # it covers three of the four
    approve(project, declared, seconds=40)
    assert code(looked(project, declared)) == Overrun.PREDICTED
    approve(project, declared, at=NOW + timedelta(minutes=1), seconds=50)
    later = NOW + timedelta(minutes=2)
    assert code(looked(project, declared, later)) is None
    assert looked(project, declared, later).caps == CapsSpec(seconds=50)
    assert code(looked(project, declared, NOW + timedelta(days=2))) == Overrun.PREDICTED
    part = capped_run(project, declared, DAYS[1:2], later)
    assert part.refusal is None


def test_an_approval_lets_a_run_of_unknown_cost_start(project: Project) -> None:
    declared = spec(price=None, cost=1.0)
    approve(project, declared)
    assert code(looked(project, declared)) is None


def test_a_run_that_was_stopped_is_tried_again_only_after_an_approval(project: Project) -> None:
    declared = spec(seconds=1000)
    approve(project, declared, at=NOW - timedelta(hours=1), seconds=2000)
    record(project, "2013-07-02", state="refused", stage="predictions", reason_code=SPENT)
    found = looked(project, declared)
    assert code(found) == Overrun.SPENT
    assert "was stopped at its cap in window 2013-07-02" in str(found.refusal)
    approve(project, declared, at=NOW + timedelta(hours=1), seconds=2000)
    later = NOW + timedelta(hours=2)
    assert code(looked(project, declared, later)) is None
    record(project, "2013-07-02", later, attempt=2, run_id="again")
    assert code(looked(project, declared, NOW + timedelta(days=9))) is None


def test_a_damaged_approval_is_named_and_lets_nothing_run(project: Project) -> None:
    declared = spec(seconds=1000)
    approve(project, declared)
    (path,) = (project.lake / "flight_delays" / FOLDER).glob("*.json")
    path.write_text("{}")
    with pytest.raises(ManifestInvalid, match="is no approval of a run"):
        run_approval(project, declared, DAYS, NOW)
    with pytest.raises(ManifestInvalid, match="is no approval of a run"):
        opened_budget(project, declared, DAYS, NOW).require_left()


def test_a_run_above_its_cap_begins_nothing_more() -> None:
    clock = iter([10.0, 12.0, 13.1])
    budget = Budget(
        spec=spec(),
        windows=DAYS,
        caps=CapsSpec(seconds=3),
        began=10.0,
        clock=lambda: next(clock),
    )
    budget.require_left()
    budget.require_left()
    with pytest.raises(RunOverCap, match=r"has taken 3\.1 s, its cap is 3\.0 s") as stopped:
        budget.require_left()
    assert stopped.value.reason == Overrun.SPENT


def test_the_cost_of_a_run_grows_with_its_time() -> None:
    budget = Budget(
        spec=spec(), windows=DAYS, caps=CapsSpec(cost=0.01), began=0.0, clock=lambda: 10.5
    )
    with pytest.raises(RunOverCap, match=r"has taken 0\.0105 EUR, its cap is 0\.01 EUR"):
        budget.require_left()


def test_seconds_spent_elsewhere_count(project: Project) -> None:
    opened_budget(project, spec(seconds=50), DAYS, NOW).require_left()
    with pytest.raises(RunOverCap):
        opened_budget(project, spec(seconds=50), DAYS, NOW, spent=51.0).require_left()


def test_without_caps_nothing_is_read_and_nothing_stops(project: Project) -> None:
    opened_budget(project, spec(price=None), DAYS, NOW, spent=10.0**9).require_left()
    assert not project.lake.exists()
