"""What is still known of a declaration of then: nothing, where it is no definition."""

from __future__ import annotations

from pathlib import Path

from batchinf_assets.lake.versioned import LARGEST_DOCUMENT
from batchinf_assets.publishing.proof.past_declaration import _kept_definition

DEFINITION = b'{"sql":"SELECT 1","columns":{},"source":{},"outcomes":null,"references":{}}'


def test_a_definition_is_read_as_it_was_kept(tmp_path: Path) -> None:
    (tmp_path / "0.json").write_bytes(DEFINITION)
    kept = _kept_definition(tmp_path / "0.json")
    assert kept is not None
    assert kept.sql == "SELECT 1"


def test_a_huge_definition_is_as_good_as_none_and_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "0.json").write_bytes(DEFINITION + b" " * LARGEST_DOCUMENT)
    assert _kept_definition(tmp_path / "0.json") is None


def test_a_definition_that_was_not_kept_is_none(tmp_path: Path) -> None:
    assert _kept_definition(tmp_path / "0.json") is None
