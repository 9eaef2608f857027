"""What stands in the environment or in an address is in nothing that a run leaves or says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from batchinf_assets_tests.end_to_end.conftest import Operator

WINDOW, NEXT = "2013-07-01", "2013-07-02"
PLANTED = "planted-Zx81-hunter"


def left_behind(*folders: Path) -> list[str]:
    """Name every file below the folders that holds what was planted."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if PLANTED.encode() in path.read_bytes()]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "SLACK_WEBHOOK", "DB_PASSWORD"):
        monkeypatch.setenv(name, PLANTED)


@pytest.mark.usefixtures("planted")
def test_a_secret_of_the_environment_is_nowhere(
    operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    landed = operator.landed(f"flights/{NEXT}.parquet")
    good = operator.batchinf("run", "flight_delays", NEXT)
    assert good.exit_code == 0
    pq.write_table(pq.read_table(landed).drop_columns(["carrier"]), landed)
    bad = operator.batchinf("run", "flight_delays", NEXT)
    assert bad.exit_code == 1
    status = operator.batchinf("status", "flight_delays", "--json")
    for said in (good.output, bad.output, status.output, caplog.text):
        assert PLANTED not in said
    project = operator.project
    assert left_behind(project.lake, project.dagster_home, project.keys) == []


def test_the_password_in_the_registrys_address_is_nowhere(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://team:{PLANTED}@127.0.0.1:9")
    failed = operator.batchinf("run", "flight_delays", NEXT)
    assert failed.exit_code == 1
    assert "127.0.0.1:9" in failed.output
    for said in (failed.output, caplog.text):
        assert PLANTED not in said
    assert left_behind(operator.project.lake, operator.project.dagster_home) == []
