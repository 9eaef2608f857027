"""The first time a model is loaded: in a sandbox, whose findings are read as possibly hostile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.sandbox import Limits
from batchinf_assets.training import examine
from batchinf_assets.training.examine import Examination, Job, examine_model

if TYPE_CHECKING:
    from batchinf_assets_tests.training.conftest import School

SANDBOXED = Path(__file__).parent / "sandboxed"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "an access key of nobody",
    "AWS_SECRET_ACCESS_KEY": "a secret key of nobody",
    "AWS_SESSION_TOKEN": "a session of nobody",
    "BATCHINF_SIGNING_KEY": "a signing key of nobody",
    "BATCHINF_SIGNING_KEY_FILE": "/somewhere/a key",
    "BATCHINF_SIGNING_KEY_SECRET": "the name of a secret",
    "MLFLOW_TRACKING_URI": "https://user:password@registry.example.com",
    "PYTHONPATH": "/somewhere/else",
}
WITHOUT_LANDLOCK = Path(__file__).parents[1] / "registry" / "without_landlock.py"
LIMITS = Limits(wall_seconds=60)


def run(school: School, data: bytes = b"never loaded") -> Examination:
    spec = school.pipeline.spec
    rows = school.labelled.rows.slice(0, 5)
    job = Job(columns=dict(spec.features.columns), decision=spec.golden.decision)
    return examine_model(data, job=job, rows=rows, golden=rows, limits=LIMITS)


def test_no_credential_reaches_the_process_that_loads_a_model(
    school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(examine, "MODULE", str(SANDBOXED / "tells_environment.py"))
    with pytest.raises(ModelRefused, match=r"names .*PATH.* values") as told:
        run(school)
    for name, value in SECRETS.items():
        assert f" {name} " not in told.value.message
        assert value not in told.value.message


@pytest.fixture
def leaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a worker leave what the given lines leave in its folder, after honest findings."""

    def put(lines: str) -> None:
        script = tmp_path / "worker.py"
        script.write_text(f"{HONEST}\n{lines}\n")
        monkeypatch.setattr(examine, "MODULE", str(script))

    return put


HONEST = """
import json, sys
from pathlib import Path
import numpy as np
folder = Path(sys.argv[1])
findings = {
    "model_format": "skops", "scorer": "scikit-learn", "parity": [], "files": [],
    "thresholds": None, "rows_per_second": {"scikit-learn": 1.0},
}
(folder / "findings.json").write_text(json.dumps(findings))
for name in ("scores.f64", "golden-scores.f64"):
    np.full(5, 0.25).tofile(folder / name)
"""


def test_honest_findings_are_read(school: School, leaving: Callable[[str], None]) -> None:
    leaving("")
    found = run(school)
    assert found.scores.tolist() == found.golden_scores.tolist() == [0.25] * 5
    assert (found.findings.scorer, found.files) == ("scikit-learn", {})


@pytest.mark.parametrize(
    "lie",
    [
        "findings['rows_per_second'] = {'scikit-learn': -1.0}\n"
        "(folder / 'findings.json').write_text(json.dumps(findings))",
        "(folder / 'findings.json').unlink()",
        "(folder / 'findings.json').write_text('{}')",
        "(folder / 'findings.json').write_bytes(b'\\xff')",
        "(folder / 'scores.f64').unlink()",
        "np.full(4, 0.25).tofile(folder / 'scores.f64')",
        "np.full(6, 0.25).tofile(folder / 'scores.f64')",
        "(folder / 'scores.f64').write_bytes(b'odd')",
        "np.full(5, np.nan).tofile(folder / 'golden-scores.f64')",
        "findings['files'] = ['trees.parquet']\n"
        "(folder / 'findings.json').write_text(json.dumps(findings))",
        "findings['files'] = ['../../etc/passwd']\n"
        "(folder / 'findings.json').write_text(json.dumps(findings))",
        "(folder / 'scores.f64').unlink(); (folder / 'scores.f64').symlink_to('golden-scores.f64')",
    ],
)
def test_findings_that_are_not_whole_are_refused(
    school: School, leaving: Callable[[str], None], lie: str
) -> None:
    leaving(lie)
    with pytest.raises(ModelRefused) as refusal:
        run(school)
    assert refusal.value.reason is Refusal.CRASHED


def test_a_link_to_a_file_outside_is_never_taken_for_a_finding(
    school: School, leaving: Callable[[str], None], tmp_path: Path
) -> None:
    secret = tmp_path / "signing-key.pem"
    secret.write_text("a private key")
    leaving(
        "findings['files'] = ['recipe.json']\n"
        "(folder / 'findings.json').write_text(json.dumps(findings))\n"
        f"(folder / 'recipe.json').symlink_to({str(secret)!r})"
    )
    with pytest.raises(ModelRefused) as refusal:
        run(school)
    assert refusal.value.reason is Refusal.CRASHED


def test_a_file_that_must_be_examined_closed_in_is_not_even_read_in_an_open_sandbox(
    tmp_path: Path,
) -> None:
    (tmp_path / "model").write_bytes(b"no model")

    def examined(required: str) -> str:
        command = [sys.executable, WITHOUT_LANDLOCK, "examine", tmp_path / "model", required]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    if (told := examined("open")).startswith("no filter"):
        pytest.skip(f"this kernel lets us filter no system calls: {told}")
    assert told == Refusal.UNREADABLE, "it was not read: this test would prove nothing"
    assert examined("closed") == Refusal.OPEN_SANDBOX
