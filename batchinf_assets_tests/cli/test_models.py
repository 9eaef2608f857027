"""Commands on models: list, promote, go back, renew and verify."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from batchinf_assets.evaluation.metrics.binary import FIGURES
from batchinf_assets.project import Project
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.fast import TREES

Run = Callable[..., Result]
Told = Callable[..., str]

WINDOW = "2013-07-01"
CHAMPION, GOOD, NOISE = "1", "2", "3"
HEX_DIGITS = 16


@pytest.fixture
def project(contested: Project) -> Project:
    """Version 1 is the champion, 2 is about as good, 3 learned noise."""
    return contested


@pytest.fixture
def listed(fine: Told) -> Callable[[], dict[str, dict[str, Any]]]:
    """Return what `model list` says, by version."""

    def read() -> dict[str, dict[str, Any]]:
        found = json.loads(fine("model", "list", "flight_delays", "--json"))
        return {row["version"]: row for row in found}

    return read


@pytest.fixture
def history(fine: Told) -> Callable[[], list[dict[str, Any]]]:
    def read() -> list[dict[str, Any]]:
        return json.loads(fine("model", "history", "flight_delays", "--json"))

    return read


Listed = Callable[[], dict[str, dict[str, Any]]]
History = Callable[[], list[dict[str, Any]]]


def promotion(version: str, *options: str) -> tuple[str, ...]:
    return ("model", "promote", "flight_delays", version, "--reason", "A test", *options)


def model_folder(project: Project, version: str) -> Path:
    (folder,) = (project.lake / "_models" / "flight_delays").glob(f"v{version}-*")
    return folder


def test_list_shows_who_vouches_for_each_version_and_how_it_scores(
    project: Project, fine: Told, listed: Listed
) -> None:
    (key,) = read_keyring(project.keys).keys
    found = listed()
    assert list(found) == [CHAMPION, GOOD, NOISE]
    champion = found[CHAMPION]
    version = Registry.at(project, {}).resolve("flight_delays", "champion")
    assert champion["aliases"] == ["champion"]
    assert champion["digest"] == version.digest
    assert (champion["name"], champion["state"]) == ("flight_delays", "verified")
    assert (champion["key_id"], champion["scorer"]) == (key.id, TREES)
    assert champion["signed_until"][:2] == "20"
    assert set(champion["golden"]) == {*FIGURES}
    assert champion["golden"]["auroc"] > 0.6 > found[NOISE]["golden"]["auroc"]
    assert found[NOISE]["aliases"] == ["challenger"]
    told = fine("model", "list")
    assert told.splitlines()[0].strip() == "3 model versions"
    for row in found.values():
        assert row["digest"][:HEX_DIGITS] in told
    assert f"{champion['golden']['auroc']:.4f}" in told


def test_list_says_of_a_changed_version_why_it_is_refused_and_still_lists_the_others(
    project: Project, listed: Listed
) -> None:
    (model_folder(project, GOOD) / "added.txt").touch()
    found = listed()
    assert [row["state"] for row in found.values()] == ["verified", "added_file", "verified"]
    assert "added.txt" in found[GOOD]["problem"]
    assert "golden" not in found[GOOD]


def test_list_of_an_empty_registry_says_what_to_do(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fine: Told
) -> None:
    assert environ["BATCHINF_LAKE"]
    monkeypatch.setenv("BATCHINF_LAKE", str(tmp_path / "empty"))
    assert "batchinf model register PIPELINE" in fine("model", "list")
    assert json.loads(fine("model", "list", "--json")) == []


def test_a_worse_model_is_not_promoted(refused: Told, fine: Told, history: History) -> None:
    fine("run", "flight_delays", WINDOW)
    line = refused(*promotion(NOISE))
    assert "flight_delays v3 was not promoted to champion" in line
    assert "golden AUROC" in line
    assert line.endswith("[promotion_gate]")
    assert [record["version"] for record in history()] == [CHAMPION]


def test_without_a_scored_window_there_is_no_canary_and_no_promotion(refused: Told) -> None:
    line = refused(*promotion(GOOD))
    assert "No window of flight_delays has features that both could score" in line
    assert line.endswith("[promotion_gate]")


def test_a_refused_promotion_gives_each_clause_as_json(batchinf: Run, history: History) -> None:
    result = batchinf(*promotion(NOISE, "--json"))
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["promoted"], told["reason"]) == (False, "promotion_gate")
    (verdict,) = told["verdicts"]
    assert (verdict["pipeline"], verdict["canary"]) == ("flight_delays", None)
    assert {clause["passed"] for clause in verdict["clauses"]} == {True, False}
    assert len(history()) == 1


def test_a_promotion_by_force_stays_on_record(fine: Told, history: History, listed: Listed) -> None:
    told = fine(*promotion(NOISE, "--force"))
    assert "FAILED" in told
    assert "flight_delays@champion is v3 now by force" in told
    first, forced = history()
    assert (first["forced"], forced["forced"]) == (False, True)
    assert (forced["version"], forced["reason"], forced["sequence"]) == (NOISE, "A test", 2)
    assert any(not clause["passed"] for clause in forced["clauses"])
    assert listed()[NOISE]["aliases"] == ["challenger", "champion"]
    table = fine("model", "history", "flight_delays")
    assert "flight_delays@champion" in table
    assert "A test" in table


def test_a_good_model_is_promoted_and_demoted_again(
    fine: Told, refused: Told, history: History, listed: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHINF_ACTOR", "operator of the day")
    fine("run", "flight_delays", WINDOW)
    told = json.loads(fine(*promotion(GOOD, "--json")))
    assert (told["version"], told["forced"], told["by"]) == (GOOD, False, "operator of the day")
    assert all(clause["passed"] for clause in told["clauses"])
    (canary,) = told["canaries"]
    assert (canary["pipeline"], canary["window"]) == ("flight_delays", WINDOW)
    assert canary["canary"]["rows"] > 50
    assert listed()[GOOD]["aliases"] == ["champion"]
    back = fine("model", "demote", "flight_delays", "--reason", "It was worse after all")
    assert "flight_delays@champion is v1 now" in back
    assert listed()[CHAMPION]["aliases"] == ["champion"]
    assert [(r["action"], r["version"]) for r in history()] == [
        ("promote", CHAMPION),
        ("promote", GOOD),
        ("demote", CHAMPION),
    ]
    line = refused("model", "demote", "flight_delays", "--reason", "And again", code=2)
    assert "no earlier champion" in line


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize("reason", ["", "  "])
def test_an_empty_reason_is_wrong_use(refused: Told, history: History, reason: str) -> None:
    for command in (("promote", "flight_delays", GOOD, "--force"), ("demote", "flight_delays")):
        line = refused("model", *command, "--reason", reason, code=2)
        assert "needs a reason" in line
    assert len(history()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("promote", "flight_delays", GOOD),
        ("demote", "flight_delays"),
        ("promote", "flight_delays", "--reason", "x"),
        ("verify", "flight_delays"),
        ("register",),
    ],
)
def test_a_missing_argument_is_wrong_use(batchinf: Run, command: tuple[str, ...]) -> None:
    assert batchinf("model", *command).exit_code == 2


@pytest.mark.parametrize(
    "command",
    [
        ("promote", "nope", GOOD, "--reason", "x"),
        ("demote", "nope", "--reason", "x"),
        ("verify", "nope", GOOD),
        ("renew", "nope", GOOD),
        ("history", "nope"),
    ],
    ids=lambda command: command[0],
)
def test_an_unknown_model_is_wrong_use(refused: Told, command: tuple[str, ...]) -> None:
    line = refused("model", *command, code=2)
    assert "No pipeline declares a model 'nope'" in line
    assert "flight_delays" in line


@pytest.mark.parametrize("version", ["99", "two", "../1", ""])
@pytest.mark.parametrize("command", ["promote", "verify", "renew"])
def test_an_unknown_version_is_named_with_the_known_ones(
    refused: Told, command: str, version: str
) -> None:
    reason = ("--reason", "x") if command == "promote" else ()
    line = refused("model", command, "flight_delays", version, *reason)
    assert f"no version '{version}'" in line
    assert "1, 2, 3" in line


def test_a_renewed_version_has_the_same_digest_and_is_promoted_by_nobody(
    project: Project, fine: Told, listed: Listed, history: History
) -> None:
    told = fine("model", "renew", "flight_delays", CHAMPION)
    assert told == "Registered flight_delays v4: the files of v1, signed anew.\n"
    found = listed()
    assert found["4"]["digest"] == found[CHAMPION]["digest"]
    assert found["4"]["state"] == "verified"
    (key,) = read_keyring(project.keys).keys
    assert found["4"]["signed_until"] == key.not_after.isoformat()  # sooner than a year from now
    assert found["4"]["aliases"] == ["challenger"]
    assert [record["version"] for record in history()] == [CHAMPION]


def test_verify_loads_the_model_again_and_compares_its_scorers(fine: Told) -> None:
    told = fine("model", "verify", "flight_delays", NOISE)
    assert told.startswith("flight_delays v3 verifies: signature, 5 files, ")
    assert f"scikit-learn passed, {TREES} passed" in told


@pytest.mark.parametrize("file", ["model.skops", "trees.parquet", "model.json", "statement.json"])
def test_verify_names_the_file_of_which_one_byte_changed(
    project: Project, refused: Told, batchinf: Run, file: str
) -> None:
    path = model_folder(project, GOOD) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    line = refused("model", "verify", "flight_delays", GOOD)
    reason = "bad_signature" if file == "statement.json" else "changed_file"
    assert line.endswith(f"[{reason}]")
    if file != "statement.json":
        assert file in line
    told = batchinf("model", "verify", "flight_delays", GOOD, "--json")
    assert told.exit_code == 1
    document = json.loads(told.stdout)
    assert (document["holds"], document["reason"]) == (False, reason)


def test_promotion_refuses_a_changed_version_even_by_force(
    project: Project, refused: Told, history: History
) -> None:
    (model_folder(project, GOOD) / "model.json").unlink()
    line = refused(*promotion(GOOD, "--force"))
    assert line.endswith("[missing_file]")
    assert len(history()) == 1


def test_without_a_private_key_nothing_is_promoted(
    project: Project, refused: Told, history: History
) -> None:
    (project.keys / "signing-key.pem").unlink()
    assert "There is no signing key at" in refused(*promotion(GOOD, "--force"))
    assert len(history()) == 1
