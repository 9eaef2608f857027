"""`batchinf model register`, by the pipeline's own training and by a file from elsewhere."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from batchinf_assets.cli import models
from batchinf_assets.project import Project
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.fast import TREES
from batchinf_assets.spec.load import DEFS_FOLDER, load_pipeline

Told = Callable[..., str]


@pytest.fixture(autouse=True)
def short_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command reads a copy of the pipeline that learns five trees from two landed days."""
    defs = tmp_path / "defs"
    shutil.copytree(DEFS_FOLDER / "flight_delays", defs / "flight_delays")
    changes = {
        "defs.yaml": (
            "start: 2013-01-01, end: 2013-04-01",
            "start: 2013-07-01, end: 2013-07-03",
        ),
        "train.py": ("max_iter=150", "max_iter=5"),
    }
    for name, (old, new) in changes.items():
        path = defs / "flight_delays" / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    monkeypatch.setattr(models, "load_pipeline", partial(load_pipeline, defs=defs))


def test_a_trained_model_becomes_the_challenger_and_not_the_champion(
    project: Project, fine: Told
) -> None:
    told = fine("model", "register", "flight_delays")
    first, *_, last = told.splitlines()
    assert first.startswith("Registered flight_delays v2, digest ")
    assert first.endswith(f"scored by {TREES}.")
    (key,) = read_keyring(project.keys).keys
    assert f"signed by {key.id} until {key.not_after:%Y-%m-%d}:" in first
    assert last == "Next: batchinf model promote flight_delays 2 --reason ..."
    registry = Registry.at(project, {})
    assert registry.resolve("flight_delays", "challenger").version == "2"
    assert registry.resolve("flight_delays", "champion").version == "1"


def test_a_file_from_elsewhere_is_registered_and_says_so_as_json(
    project: Project, fine: Told, tmp_path: Path
) -> None:
    (stored,) = (project.lake / "_models").rglob("model.skops")
    shutil.copy2(stored, tmp_path / "from elsewhere")
    given = ("--file", str(tmp_path / "from elsewhere"), "--open-sandbox")
    row = json.loads(fine("model", "register", "flight_delays", *given, "--json"))
    assert (row["version"], row["state"], row["aliases"]) == ("2", "verified", ["challenger"])
    assert (row["scorer"], row["golden"]["auroc"] > 0.6) == (TREES, True)
    assert row["training"]["start"] == "2013-07-01"


class Explosive:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_is_refused_in_one_line_and_never_runs(
    project: Project, refused: Told, tmp_path: Path
) -> None:
    canary, path = tmp_path / "canary", tmp_path / "model.skops"
    path.write_bytes(pickle.dumps(Explosive(canary)))
    pickle.loads(path.read_bytes())
    assert canary.exists(), "the canary is dead: this test would prove nothing"
    canary.unlink()
    line = refused("model", "register", "flight_delays", "--file", str(path), "--open-sandbox")
    assert line.endswith("[pickle_or_joblib]")
    assert not canary.exists()
    assert len(Registry.at(project, {}).versions("flight_delays")) == 1


@pytest.mark.usefixtures("environ")
def test_a_file_that_is_not_there_is_named(refused: Told) -> None:
    line = refused("model", "register", "flight_delays", "--file", "gone.skops")
    assert "There is no model file gone.skops." in line


def test_without_a_private_key_nothing_is_trained(project: Project, refused: Told) -> None:
    (project.keys / "signing-key.pem").unlink()
    line = refused("model", "register", "flight_delays")
    assert "There is no signing key at" in line
    assert "batchinf keys init" in line
