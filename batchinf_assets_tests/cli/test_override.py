"""`override`: a window that its golden metrics hold back, seen and let pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from batchinf_assets.project import Project
from batchinf_assets.spec import load as spec_module
from batchinf_assets.spec.load import DEFS_FOLDER

DAY = "2013-07-01"
ASKED = ("override", "flight_delays", DAY)

Run = Callable[..., Result]
Told = Callable[..., str]


@pytest.fixture
def demanding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo pipeline, asking for more than its model can do."""
    folder = tmp_path / "defs" / "flight_delays"
    folder.mkdir(parents=True)
    for path in (DEFS_FOLDER / "flight_delays").iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    document = yaml.safe_load((folder / "defs.yaml").read_text())
    document["attributes"]["golden"]["at_least"] = {"auroc": 0.99}
    (folder / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    defaults = spec_module.load_pipeline.__defaults__
    assert defaults == (DEFS_FOLDER,)
    monkeypatch.setattr(spec_module.load_pipeline, "__defaults__", (folder.parent,))


def overrides(project: Project) -> list[Path]:
    return sorted(Path(str(project.lake)).glob("flight_delays/_overrides/*/*.json"))


def test_a_held_window_is_refused_shown_overridden_and_published(
    demanding: None,  # noqa: ARG001
    batchinf: Run,
    fine: Told,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BATCHINF_ACTOR", "ann")
    refused = batchinf("run", "flight_delays", DAY)
    assert refused.exit_code == 1
    assert "expected auroc at least 0.99 (found 0." in refused.stderr
    command = f"batchinf override flight_delays {DAY} --check golden_quality --reason TEXT"
    assert f"`{command}`" in refused.stderr

    seen = fine(*ASKED)
    assert seen.startswith("golden_quality: expected auroc at least 0.99 (found 0.")
    assert seen.endswith(f"`{command}`.\n")
    shown = json.loads(fine(*ASKED, "--check", "golden_quality", "--json"))
    assert [failure["check"] for failure in shown["failed"]] == ["golden_quality"]
    assert (shown["overrides"], shown["override"]) == ([], None)
    assert overrides(project) == []

    told = fine(*command.split()[1:-1], "The old model is worse")
    expected = f"golden_quality overridden by ann. Run it: `batchinf run flight_delays {DAY}`.\n"
    assert told.endswith(expected)
    (document,) = overrides(project)
    assert document.stem.startswith(f"{shown['revision']}-golden_quality-")
    assert ": The old model is worse" in fine(*ASKED)
    fine("run", "flight_delays", DAY)
    manifest = json.loads(fine("manifest", "flight_delays", DAY))
    assert manifest["revision"] == shown["revision"]
    (record,) = manifest["overrides"]
    assert (record["check"], record["by"], record["reason"]) == (
        "golden_quality",
        "ann",
        "The old model is worse",
    )
    assert fine("verify", "flight_delays", DAY) == "1 of 1 windows verify.\n"
    again = batchinf(*ASKED, "--check", "golden_quality", "--reason", "Once more")
    assert again.exit_code == 1
    assert "ann did so first" in again.stderr


def test_what_nothing_holds_back_needs_no_override(fine: Told, refused: Told) -> None:
    fine("run", "flight_delays", DAY)
    assert fine(*ASKED).startswith("No verdict holds revision ")
    told = refused(*ASKED, "--check", "golden_quality", "--reason", "Why not", code=2)
    assert "golden_quality does not hold revision" in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--reason", "Please"), "An override is of one check."),
        (("--check", "contract"), "Check 'contract' cannot be overridden"),
        (("--check", "gate", "--reason", "Please"), "Check 'gate' cannot be overridden"),
    ],
)
def test_wrong_use_is_told_before_anything_is_read(
    refused: Told, arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in refused(*ASKED, *arguments, code=2)


def test_a_window_that_was_never_scored_has_nothing_to_override(refused: Told) -> None:
    assert "was not scored" in refused(*ASKED)
