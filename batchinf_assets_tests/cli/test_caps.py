"""`caps` where nothing waits: what a run is expected to take is shown, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable

from batchinf_assets.project import Project

RANGE = ("flight_delays", "--from", "2013-07-01", "--to", "2013-07-02")

Told = Callable[..., str]


def test_what_is_unknown_is_said_to_be_and_a_run_without_caps_may_run(fine: Told) -> None:
    assert fine("caps", *RANGE) == (
        "2 windows, 1,911 rows: about unknown time, unknown cost. Cap: any time, any cost.\n"
        "It may run.\n"
    )
    told = json.loads(fine("caps", *RANGE, "--json"))
    assert told["predicted"] == {"rows": 1911, "seconds": None, "cost": None}
    assert (told["price"], told["waits_for_approval"], told["approval"]) == (None, None, None)


def test_only_what_waits_is_approved(refused: Told, project: Project) -> None:
    told = refused("caps", *RANGE, "--reason", "Why not", code=2)
    assert "A run of flight_delays 2013-07-01 to 2013-07-02 waits for no approval." in told
    assert "Give --reason" in refused("caps", *RANGE, "--seconds", "9", code=2)
    assert not (project.lake / "flight_delays" / "_run_approvals").exists()
