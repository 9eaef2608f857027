"""Every line of the shipped `dagster.yaml` files is explained, and read by Dagster."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.errors import DagsterInvalidConfigError
from dagster._core.instance.config import dagster_instance_config
from dagster._serdes import ConfigurableClassData

from batchinf_assets.orchestration.run_queue import (
    PIPELINE_TAG,
    PRIORITY_TAG,
    TEAM_TAG,
    WINDOW_TAG,
    WindowQueue,
)
from batchinf_assets.project import CHECKOUT

Path_ = tuple[str | int, ...]

FILES = {
    "local": CHECKOUT / "deploy" / "local" / "dagster.yaml",
    "postgres": CHECKOUT / "deploy" / "postgres" / "dagster.yaml",
}
SETTINGS = {name: yaml.safe_load(file.read_text()) for name, file in FILES.items()}
MOST_UNDER_ONE_COMMENT = 5


def keys_in(settings: Any, path: Path_ = ()) -> list[Path_]:
    """Return the path of every key, at every depth."""
    if isinstance(settings, list):
        return [found for i, each in enumerate(settings) for found in keys_in(each, (*path, i))]
    if not isinstance(settings, dict):
        return []
    nested = [found for key, each in settings.items() for found in keys_in(each, (*path, key))]
    return [(*path, key) for key in settings] + nested


def misspelt(settings: Any, path: Path_) -> Any:
    """Return a copy in which one key has a name that nobody reads."""
    copy = yaml.safe_load(yaml.safe_dump(settings))
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    parent[f"{path[-1]}_"] = parent.pop(path[-1])
    return copy


def load(settings: dict[str, Any], folder: Path) -> None:
    """Read settings as every Dagster process does, the classes named in them included."""
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    read, _ = dagster_instance_config(str(folder))
    for name in ("run_coordinator", "compute_logs"):
        if name in read:
            of = read[name]
            ConfigurableClassData(
                of["module"], of["class"], yaml.safe_dump(of["config"])
            ).rehydrate()


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHINF_LOGS", str(tmp_path / "logs"))


@pytest.mark.parametrize("file", FILES)
def test_dagster_accepts_the_settings(file: str, tmp_path: Path) -> None:
    load(SETTINGS[file], tmp_path)


@pytest.mark.parametrize(
    ("file", "path"),
    [(file, path) for file in FILES for path in keys_in(SETTINGS[file])],
    ids=lambda of: of if isinstance(of, str) else ".".join(map(str, of)),
)
def test_a_misspelt_setting_is_refused_so_every_one_is_read(
    file: str, path: Path_, tmp_path: Path
) -> None:
    with pytest.raises((DagsterInvalidConfigError, KeyError)):
        load(misspelt(SETTINGS[file], path), tmp_path)


@pytest.mark.parametrize("file", FILES)
def test_every_setting_stands_below_a_comment_that_explains_it(file: str) -> None:
    lines = [line.strip() for line in FILES[file].read_text().splitlines() if line.strip()]
    groups = itertools.groupby(lines, key=lambda line: line.startswith("#"))
    values = [
        [line for line in group if re.search(r":\s+\S", line)]
        for is_comment, group in groups
        if not is_comment
    ]
    assert lines[0].startswith("#")
    assert [group for group in values if len(group) > MOST_UNDER_ONE_COMMENT] == []


@pytest.mark.parametrize("file", FILES)
def test_the_queue_labels_what_the_limits_count(file: str) -> None:
    settings = SETTINGS[file]
    limits = {
        limit["key"]: limit for limit in settings["concurrency"]["runs"]["tag_concurrency_limits"]
    }
    each = {"applyLimitPerUniqueValue": True}
    assert settings["run_coordinator"]["class"] == WindowQueue.__name__
    assert limits[WINDOW_TAG] == {"key": WINDOW_TAG, "value": each, "limit": 1}
    assert limits[TEAM_TAG]["value"] == each
    assert (
        limits["dagster/backfill"]["limit"] < settings["concurrency"]["runs"]["max_concurrent_runs"]
    )
    assert settings["run_retries"] == {"enabled": False, "retry_on_asset_or_op_failure": False}


@pytest.mark.parametrize("label", [PIPELINE_TAG, WINDOW_TAG, TEAM_TAG, PRIORITY_TAG])
def test_every_label_of_the_queue_is_documented(label: str) -> None:
    assert f"| `{label}` |" in (CHECKOUT / "docs" / "deployment.md").read_text()
