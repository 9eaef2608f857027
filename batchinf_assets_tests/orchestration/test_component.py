"""The component, as Dagster's own tools see it."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster.components.component_scaffolding import scaffold_object

from batchinf_assets.spec.load import COMPONENT


def test_dagster_writes_no_declaration_without_anything_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "late"
    with pytest.raises(Exception, match="batchinf scaffold NAME FILE"):
        scaffold_object(folder, COMPONENT, None, "yaml", tmp_path)
    assert not folder.exists()
