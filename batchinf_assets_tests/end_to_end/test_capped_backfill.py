"""Ranges launched by GraphQL above their cap: they ask, and what is approved goes on, alone.

It takes a while, because Dagster's daemon looks for new backfills every half minute.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from batchinf_assets.attempts import recorder_of
from batchinf_assets.cli import main
from batchinf_assets.orchestration.keys import WINDOWED
from batchinf_assets.orchestration.runs.refusals import standing_refusals
from batchinf_assets.orchestration.unfinished.sensor import look
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets_tests.end_to_end.capped_definitions import CAP_SECONDS, capped
from batchinf_assets_tests.resilience.deployed import Deployment, deployed

MODULE = "batchinf_assets_tests.end_to_end.capped_definitions"
PIPELINE = "flight_delays"
MEASURED = "2013-07-01"
ASKED, OTHER = ("2013-07-02", "2013-07-03"), ("2013-07-04", "2013-07-05")
GRAPH = [f"{PIPELINE}/{name}" for name in WINDOWED]

pytestmark = pytest.mark.usefixtures("environ")


@pytest.fixture
def measured(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A window was run before there was a cap; now commands read what the deployment declares."""
    batchinf("run", PIPELINE, MEASURED)
    for command in ("caps", "windows"):
        monkeypatch.setattr(f"batchinf_assets.cli.{command}.load_pipeline", lambda _name: capped())
    return project


def batchinf(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def reasons(project: Project) -> dict[str, str | None]:
    """Why the last attempt at each window ended."""
    assert recorder_of(project).flush(60.0) == 0
    return {key: found.reason_code for key, found in Ledger(project.lake).latest(PIPELINE).items()}


def ended(made: Deployment, **tags: str) -> str:
    """Wait for the only run with these tags, and return its status."""
    made.wait_until("the run is over", lambda: all(r.is_finished for r in made.runs(**tags)))
    (run,) = made.runs(**tags)
    return run.status.value


def backfilled(made: Deployment, first: str, last: str) -> str:
    """Launch a backfill, and return how its only run ended."""
    backfill = {"dagster/backfill": made.backfill(first, last, *GRAPH)}
    made.wait_until("the backfill's run", lambda: made.runs(**backfill) != [])
    return ended(made, **backfill)


def ranged(made: Deployment, first: str, last: str) -> str:
    """Launch one run of a range by a click in the asset graph, and return how it ended."""
    tags = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    run_id = made.launch(*GRAPH, **tags)
    made.wait_until("the run is over", lambda: made.status(run_id) in ("SUCCESS", "FAILURE"))
    return made.status(run_id)


def test_a_range_above_its_cap_asks_and_an_approval_lets_exactly_it_go_on(
    measured: Project,
) -> None:
    project, spec = measured, capped().spec
    with deployed(project.dagster_home, MODULE) as made:
        made.start_daemon()
        assert backfilled(made, *ASKED) == "FAILURE"
        assert ranged(made, *OTHER) == "FAILURE"
        predicted = "run_over_cap/predicted"
        waiting = dict.fromkeys((*ASKED, *OTHER), predicted)
        assert reasons(project) == {MEASURED: None, **waiting}
        assert sorted(predictions_table(project, spec).files()) == [MEASURED]
        told = standing_refusals(made.instance, spec)
        assert all(f"its cap is {CAP_SECONDS:,.1f} s" in told[key] for key in waiting)
        assert f"`batchinf caps {PIPELINE} --from {ASKED[0]} --to {ASKED[1]}`" in told[ASKED[0]]
        assert batchinf("status", PIPELINE).count("refused, over its cap") == len(waiting)
        later = datetime.now(UTC) + timedelta(hours=1)
        assert look(made.instance, project, spec, None, later).requests == ()

        range_ = ("--from", ASKED[0], "--to", ASKED[1])
        given = ("--reason", "Quarter end", "--seconds", "3600", "--json")
        approved = json.loads(batchinf("caps", PIPELINE, *range_, *given))
        assert approved["waits_for_approval"] is None
        assert ranged(made, ASKED[1], OTHER[0]) == "FAILURE"
        assert ranged(made, *OTHER) == "FAILURE"
        assert ranged(made, *ASKED) == "SUCCESS"
        published = sorted(predictions_table(project, spec).files())
        assert published == [MEASURED, *ASKED]
        assert {reasons(project)[key] for key in OTHER} == {predicted}
