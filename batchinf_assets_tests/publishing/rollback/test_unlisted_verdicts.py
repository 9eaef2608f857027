"""A verdict that cannot be listed is not a verdict that nobody gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchinf_assets.scoring.condemnations import FOLDER, condemned, condemned_revisions
from batchinf_assets_tests.nobody import as_nobody, give_to_nobody
from batchinf_assets_tests.publishing.two_revisions import Shown


def test_a_condemned_revision_is_not_free_where_verdicts_may_not_be_listed(shown: Shown) -> None:
    desk = shown.desk
    shown.roll_back()
    lake = Path(str(desk.project.lake))
    folder = lake / desk.spec.name / FOLDER / desk.window.folder_name
    give_to_nobody(lake)
    folder.chmod(0o311)
    with as_nobody():
        with pytest.raises(PermissionError):
            condemned(desk.project, desk.spec, desk.window, shown.bad)
        with pytest.raises(PermissionError):
            condemned_revisions(desk.project, desk.spec, desk.window)
    folder.chmod(0o755)
    assert shown.verdict(shown.bad) == "Wrong weather"
