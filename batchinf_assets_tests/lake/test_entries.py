"""What lies in a folder: by name, part by part, and a failure where it cannot be listed."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

import batchinf_assets
from batchinf_assets.lake.entries import entries, exists, is_dir, is_file
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets_tests.nobody import as_nobody, give_to_nobody

PACKAGE = Path(batchinf_assets.__file__).parent

LISTS_NO_LAKE = {
    "code_version.py": "our own code",
    "lake/entries.py": "asks S3, which raises",
    "lake/s3.py": "is S3, which raises",
    "publishing/stored_files.py": "asks S3, which raises",
    "registry/mirror.py": "asks S3, which raises, and looks through its own copies",
    "snapshots/listing.py": "what landed",
    "snapshots/parts.py": "what landed",
    "spec/load.py": "what users declare",
    "telemetry/recorder.py": "the machine's own spool",
    "telemetry/resources.py": "what the kernel says of processes",
}
"""Modules that may call `glob`, `rglob` or `iterdir`, and of what."""

ASKS_NO_LAKE = {
    "code_version.py": "our own code",
    "lake/entries.py": "asks S3, which raises, and entries of a folder that was listed",
    "lake/s3.py": "is S3, which raises",
    "publishing/stored_files.py": "asks entries of a folder that was listed",
    "registry/confinement.py": "libraries",
    "registry/mirror.py": "looks through its own copies",
    "registry/sandbox.py": "what is compiled",
    "registry/sandbox_launcher.py": "libraries",
    "spec/load.py": "what users declare",
    "telemetry/recorder.py": "the machine's own spool",
    "training/examination.py": "what a sandbox left in a folder of ours",
}
"""Modules that may call `exists`, `is_file` or `is_dir` of a path, and of what."""


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return tmp_path / "folder"
    s3_lake: S3Place = request.getfixturevalue("s3_lake")
    return s3_lake


def fill(folder: Place, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(folder, Path):
            (folder / name).write_bytes(b"")
        else:
            (folder / name).create(b"")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.json", ["B.json", "a.json"]),
        ("*", ["B.json", "a.json", "c", "d.sig"]),
        ("*/*.json", ["c/1.json", "c/10.json"]),
        ("*/?.json", ["c/1.json"]),
        ("nothing*", []),
    ],
)
def test_what_matches_comes_by_name(folder: Place, pattern: str, found: list[str]) -> None:
    fill(folder, "a.json", "d.sig", "B.json", "c/1.json", "c/10.json", "c/x.sig")
    assert [place.relative_to(folder).as_posix() for place in entries(folder, pattern)] == found


def test_no_folder_holds_nothing(folder: Place) -> None:
    assert list(entries(folder / "nowhere", "*")) == []


@pytest.mark.parametrize("pattern", ["*.json", "*/*.json"])
def test_a_folder_that_may_not_be_listed_is_no_empty_one(tmp_path: Path, pattern: str) -> None:
    fill(tmp_path, "a/b/c.json")
    closed = tmp_path / "a" / "b"
    give_to_nobody(tmp_path)
    closed.chmod(0o311)
    with as_nobody(), pytest.raises(PermissionError):
        list(entries(closed.parent if "/" in pattern else closed, pattern))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        list(entries(tmp_path / "file", "*"))


@pytest.mark.parametrize("asked", [exists, is_file, is_dir])
def test_what_may_not_be_looked_at_is_not_absent(
    tmp_path: Path, asked: Callable[[Place], bool]
) -> None:
    fill(tmp_path, "closed/a.json")
    give_to_nobody(tmp_path)
    (tmp_path / "closed").chmod(0o600)
    with as_nobody(), pytest.raises(PermissionError):
        asked(tmp_path / "closed" / "a.json")


def test_what_is_there_is_a_file_or_a_folder(folder: Place) -> None:
    fill(folder, "c/1.json")
    told = [(exists(each), is_file(each), is_dir(each)) for each in (folder / "c", folder / "no")]
    assert told == [(True, False, True), (False, False, False)]
    file = folder / "c" / "1.json"
    assert (exists(file), is_file(file), is_dir(file)) == (True, True, False)
    assert not exists(file / "below")


def modules_that_use(*methods: str) -> set[str]:
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] != "defs"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in methods
    }


def test_nobody_lists_a_lake_by_what_takes_a_refusal_for_nothing() -> None:
    assert modules_that_use("glob", "rglob", "iterdir") == set(LISTS_NO_LAKE)
    assert modules_that_use("exists", "is_file", "is_dir") == set(ASKS_NO_LAKE)
