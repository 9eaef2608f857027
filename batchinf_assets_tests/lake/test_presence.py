"""That a lake is gone comes before whatever was not found in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from batchinf_assets.errors import ManifestInvalid, StorageUnavailable
from batchinf_assets.lake.presence import Presence
from batchinf_assets_tests.nobody import as_nobody, give_to_nobody


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lake" / "flight_delays").mkdir(parents=True)
    return tmp_path / "lake" / "flight_delays"


@pytest.mark.parametrize("mount_point", [True, False])
def test_a_lake_that_is_gone_comes_before_what_was_missed_in_it(
    folder: Path, *, mount_point: bool
) -> None:
    presence = Presence.of(folder)

    def lose() -> NoReturn:
        shutil.rmtree(folder.parent)
        if mount_point:
            folder.parent.mkdir()
        raise ManifestInvalid("A manifest is missing.", next_step="Restore it.")

    with pytest.raises(StorageUnavailable, match=f"{folder} is gone"), presence.required():
        lose()


def test_a_folder_that_is_there_changes_nothing(folder: Path) -> None:
    presence = Presence.of(folder)
    with presence.required():
        (folder / "predictions").mkdir()
    with pytest.raises(ManifestInvalid), presence.required():
        raise ManifestInvalid("A manifest is missing.", next_step="Restore it.")


def test_a_folder_that_was_not_made_yet_is_not_missed(folder: Path) -> None:
    with Presence.of(folder / "predictions").required():
        pass


def test_a_folder_at_which_we_may_not_look_is_not_taken_for_gone(folder: Path) -> None:
    give_to_nobody(folder)
    presence = Presence.of(folder)
    folder.parent.chmod(0)
    with as_nobody(), pytest.raises(PermissionError), presence.required():
        pass
