"""What a manifest says of the running code: found in files, without git, or absent."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from batchinf_assets.code_version import git_commit, lock_digest, running_code
from batchinf_assets.project import CHECKOUT

COMMIT, OTHER = "a" * 40, "b" * 40


def repository(folder: Path, head: str, **files: str) -> Path:
    """Lay out a repository; in names of files `__` stands for `/`."""
    for name, text in {"HEAD": head, **files}.items():
        path = folder / ".git" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_commit_of_a_branch_is_found(tmp_path: Path) -> None:
    checkout = repository(tmp_path, "ref: refs/heads/main\n", refs__heads__main=f"{COMMIT}\n")
    assert git_commit(checkout) == COMMIT


def test_a_packed_branch_is_found_and_a_loose_one_comes_first(tmp_path: Path) -> None:
    packed = f"# pack-refs with: peeled\n{OTHER} refs/heads/maintenance\n{COMMIT} refs/heads/main\n"
    checkout = repository(tmp_path, "ref: refs/heads/main\n", **{"packed-refs": packed})
    assert git_commit(checkout) == COMMIT
    repository(tmp_path, "ref: refs/heads/main\n", refs__heads__main=f"{OTHER}\n")
    assert git_commit(checkout) == OTHER


def test_a_detached_head_is_found(tmp_path: Path) -> None:
    assert git_commit(repository(tmp_path, f"{COMMIT}\n")) == COMMIT


def test_a_repository_of_sha256_is_found(tmp_path: Path) -> None:
    assert git_commit(repository(tmp_path, "c" * 64 + "\n")) == "c" * 64


@pytest.mark.parametrize("head", ["", "ref: refs/heads/unborn\n", "a" * 39, "ref: ../../x\n"])
def test_no_commit_is_none(tmp_path: Path, head: str) -> None:
    assert git_commit(repository(tmp_path, head)) is None


def test_no_repository_is_none_even_inside_somebody_elses(tmp_path: Path) -> None:
    installed = repository(tmp_path, f"{COMMIT}\n") / "site-packages"
    installed.mkdir()
    assert git_commit(installed) is None


def test_git_itself_says_the_same_of_a_checkout_and_of_a_worktree(tmp_path: Path) -> None:
    def git(*arguments: str, folder: Path = tmp_path / "a") -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        command = ["git", "-C", str(folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "a").mkdir()
    git("init", "--quiet", "--initial-branch=main")
    git("commit", "--quiet", "--allow-empty", "--message=one")
    git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "b"))
    git("commit", "--quiet", "--allow-empty", "--message=two", folder=tmp_path / "b")
    assert git_commit(tmp_path / "a") == git("rev-parse", "HEAD")
    assert git_commit(tmp_path / "b") == git("rev-parse", "HEAD", folder=tmp_path / "b")
    git("pack-refs", "--all")
    assert git_commit(tmp_path / "a") == git("rev-parse", "HEAD")
    assert git_commit(tmp_path / "b") == git("rev-parse", "HEAD", folder=tmp_path / "b")


def test_the_lock_file_is_digested_and_none_is_none(tmp_path: Path) -> None:
    assert lock_digest(tmp_path) is None
    (tmp_path / "requirements.lock").write_bytes(b"numpy==2.4\n")
    assert lock_digest(tmp_path) == hashlib.sha256(b"numpy==2.4\n").hexdigest()


def test_the_running_code_is_described() -> None:
    code = running_code()
    assert code.commit == git_commit(CHECKOUT)
    assert code.lock == lock_digest(CHECKOUT)
    assert code.platform
    assert set(code.libraries) >= {"numpy", "pyarrow", "duckdb", "numba"}
