import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry import sandbox
from batchinf_assets.registry.sandbox import (
    Limits,
    SandboxReport,
    read_left_behind,
    report_refusal,
    run_sandboxed,
)

MODULES = Path(__file__).parent / "sandboxed"
WITHOUT_LANDLOCK = Path(__file__).with_name("without_landlock.py")
LIMITS = Limits(memory_bytes=2 * 2**30, cpu_seconds=60, wall_seconds=60, file_bytes=2**24)
SECRET = "correct horse battery staple"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "work here"
    made.mkdir()
    return made


@pytest.fixture(scope="session")
def granted(tmp_path_factory):
    return run_sandboxed(script("works"), tmp_path_factory.mktemp("granted"), LIMITS)


def script(name):
    return str(MODULES / f"{name}.py")


def run_carelessly(name, folder):
    return subprocess.run([sys.executable, script(name), folder], check=True, cwd=folder)


def run(name, folder, **limits):
    return run_sandboxed(script(name), folder, Limits(**{**vars(LIMITS), **limits}))


def refusal(name, folder, **limits):
    with pytest.raises(ModelRefused) as caught:
        run(name, folder, **limits)
    assert str(caught.value).isprintable()
    return caught.value


def found(folder):
    return json.loads((folder / "found.json").read_text())


def test_a_module_that_works_leaves_its_results(folder):
    report = run("works", folder)
    assert isinstance(report, SandboxReport)
    assert found(folder)["sum"] == 40_000
    assert found(folder)["folder"] == str(folder)
    assert found(folder)["arguments"] == [script("works"), str(folder)]
    assert found(folder)["input"] == ""


def test_the_environment_is_what_python_and_numba_need(folder, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    run("works", folder)
    environment = found(folder)["environment"]
    assert {*environment} - {"LC_CTYPE"} == {
        "HOME",
        "LANG",
        "MKL_NUM_THREADS",
        "NUMBA_CACHE_DIR",
        "NUMBA_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "PATH",
        "TMPDIR",
    }
    assert environment["HOME"] == str(folder)


def test_no_open_file_is_inherited(folder, tmp_path):
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        run("works", folder)
    assert not [name for name in found(folder)["descriptors"] if name.endswith("open")]


def test_a_module_is_also_found_by_its_dotted_name(folder):
    assert isinstance(run_sandboxed("this", folder, LIMITS), SandboxReport)


def test_a_module_that_does_not_exist_is_refused(folder):
    with pytest.raises(ModelRefused, match="No module named") as caught:
        run_sandboxed("batchinf_assets.missing", folder, LIMITS)
    assert caught.value.reason is Refusal.CRASHED


def test_a_folder_that_does_not_exist_is_an_error(folder):
    with pytest.raises(FileNotFoundError):
        run("works", folder / "missing")


def test_credentials_in_the_environment_are_out_of_reach(folder, monkeypatch):
    names = ["AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "BATCHINF_SIGNING_KEY"]
    (folder / "wanted.json").write_text(json.dumps({"variables": names, "files": []}))
    for name in names:
        monkeypatch.setenv(name, SECRET)
    run_carelessly("reads_secrets", folder)
    assert found(folder) == [SECRET] * 3, "nothing was read: this test would prove nothing"
    run("reads_secrets", folder)
    assert found(folder) == []


def test_files_and_the_environment_of_the_parent_are_out_of_reach(folder, tmp_path, granted):
    if not granted.files:
        pytest.skip("this kernel has no Landlock")
    (tmp_path / "key.pem").write_text(SECRET)
    (tmp_path / "key.pem").chmod(0o600)
    files = [str(tmp_path / "key.pem"), f"/proc/{os.getpid()}/environ"]
    (folder / "wanted.json").write_text(json.dumps({"variables": [], "files": files}))
    run_carelessly("reads_secrets", folder)
    assert len(found(folder)) == 2, "nothing was read: this test would prove nothing"
    run("reads_secrets", folder)
    assert found(folder) == []


def test_nothing_is_written_outside_the_folder(folder, tmp_path, granted):
    if not granted.files:
        pytest.skip("this kernel has no Landlock")
    canary = tmp_path / "canary"
    (folder / "target").write_text(str(canary))
    run_carelessly("writes_elsewhere", folder)
    assert canary.exists(), "the canary is dead: this test would prove nothing"
    canary.unlink()
    assert "PermissionError" in refusal("writes_elsewhere", folder).message
    assert not canary.exists()


def test_the_network_is_out_of_reach(folder, granted):
    if not granted.network:
        pytest.skip("this kernel lets us have no network namespace")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        (folder / "port").write_text(str(server.getsockname()[1]))
        run_carelessly("opens_socket", folder)
        with server.accept()[0] as stolen:
            assert stolen.recv(6) == b"stolen", "nothing arrived: this test would prove nothing"
        assert refusal("opens_socket", folder).reason is Refusal.CRASHED
        with pytest.raises(TimeoutError):
            server.accept()


def test_what_was_started_does_not_outlive_the_run(folder, granted):
    if not granted.processes:
        pytest.skip("this kernel lets us have no process namespace")
    run_carelessly("forks", folder)
    time.sleep(1.5)
    assert (folder / "canary").exists(), "the canary is dead: this test would prove nothing"
    (folder / "canary").unlink()
    (folder / "forked").unlink()
    run("forks", folder)
    assert (folder / "forked").exists()
    time.sleep(1.5)
    assert not (folder / "canary").exists()


def test_too_much_memory_is_refused(folder):
    caught = refusal("allocates", folder)
    assert caught.reason is Refusal.MEMORY_LIMIT
    assert "more than 2 GiB of memory" in caught.message
    assert "memory_bytes" in caught.next_step


def test_too_much_processor_time_is_refused(folder):
    caught = refusal("loops", folder, cpu_seconds=1)
    assert caught.reason is Refusal.TIME_LIMIT
    assert "1 seconds of processor time" in caught.message


def test_too_much_time_is_refused(folder):
    caught = refusal("sleeps", folder, wall_seconds=0.7)
    assert caught.reason is Refusal.TIME_LIMIT
    assert "more than 0.7 seconds" in caught.message
    assert "wall_seconds" in caught.next_step


def test_an_abort_is_refused_with_the_last_words_on_one_line(folder):
    caught = refusal("aborts", folder)
    assert caught.reason is Refusal.CRASHED
    assert r"ended by SIGABRT; its last words: a\x1b[2Jhostile\u202eend" in caught.message


def test_a_huge_file_is_refused(folder):
    caught = refusal("writes_much", folder)
    assert caught.reason is Refusal.CRASHED
    assert "File too large" in caught.message
    assert (folder / "much").stat().st_size <= LIMITS.file_bytes


def test_of_much_output_the_end_is_kept(folder):
    caught = refusal("shouts", folder)
    assert caught.message.endswith("exit code 7; its last words: the last words.")


def test_a_refusal_of_the_child_is_raised(folder):
    caught = refusal("refuses", folder)
    assert caught.reason is Refusal.PICKLE
    assert (caught.message, caught.next_step) == ("It holds a pickle.", "Use skops.")


def test_a_refusal_that_was_there_before_does_not_count(folder):
    old = ModelRefused("Old.", reason=Refusal.PICKLE, next_step="None.")
    report_refusal(folder, old)
    assert isinstance(run("works", folder), SandboxReport)


def lie(folder, content):
    (folder / "lie").write_bytes(
        content if isinstance(content, bytes) else json.dumps(content).encode()
    )
    return refusal("lies", folder)


def test_what_the_child_reports_cannot_write_to_the_terminal(folder):
    told = {"reason": "unreadable", "message": "a\x1b[2J\nb" + "c" * 9999, "next_step": "\u202ed"}
    caught = lie(folder, told)
    assert caught.reason is Refusal.UNREADABLE
    assert caught.message.startswith(r"a\x1b[2J bccc")
    assert len(caught.message) < sandbox.TEXT_LENGTH + 20
    assert caught.next_step == r"\u202ed"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 50_000,
        b"\xff" * 100,
        b" " * 100_000,
        b"link",
        b"pipe",
        b"folder",
        ["unreadable"],
        {"reason": "unreadable", "message": "a"},
        {"reason": "unreadable", "message": "a", "next_step": 1},
        {"reason": "unreadable", "message": "  ", "next_step": "b"},
        {"reason": "fine", "message": "a", "next_step": "b"},
        {"reason": ["unreadable"], "message": "a", "next_step": "b"},
    ],
)
def test_a_report_that_is_none_is_a_crash(folder, content):
    caught = lie(folder, content)
    assert caught.reason is Refusal.CRASHED
    assert "left a refused.json that is no" in caught.message


def test_what_a_run_left_is_read(folder):
    (folder / "scores").write_bytes(b"12345678")
    assert read_left_behind(folder, "scores", max_bytes=8) == b"12345678"


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder", "too large", "missing"])
def test_what_a_run_left_is_never_another_file(folder, tmp_path, kind):
    secret, left = tmp_path / "key.pem", folder / "scores"
    secret.write_text(SECRET)
    if kind == "link":
        left.symlink_to(secret)
    elif kind == "hard link":
        left.hardlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(left)
    elif kind == "folder":
        left.mkdir()
    elif kind == "too large":
        left.write_bytes(bytes(101))
    with pytest.raises(ModelRefused, match="left no scores that can be read") as caught:
        read_left_behind(folder, "scores", max_bytes=100)
    assert caught.value.reason is Refusal.CRASHED


def test_compiled_kernels_are_handed_in_as_a_copy(folder, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "kernel.nbi").write_bytes(b"compiled")
    run_sandboxed(script("works"), folder, LIMITS, environ={"NUMBA_CACHE_DIR": str(cache)})
    assert found(folder)["kernels"] == [".numba/kernel.nbi"]
    assert not (cache / "kernel.nbi").samefile(folder / ".numba" / "kernel.nbi")


def run_without_landlock(name, folder, required):
    command = [sys.executable, WITHOUT_LANDLOCK, script(name), folder, required]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    if told.startswith("no filter"):
        pytest.skip(f"this kernel lets us filter no system calls: {told}")
    return told


def test_where_files_cannot_be_closed_off_nothing_runs_if_they_must_be(folder):
    assert run_without_landlock("works", folder, "open") == "open"
    assert found(folder)["sum"] == 40_000, "nothing ran: this test would prove nothing"
    (folder / "found.json").unlink()
    assert run_without_landlock("works", folder, "closed") == Refusal.OPEN_SANDBOX
    assert not (folder / "found.json").exists()


def test_where_files_are_closed_off_a_module_that_must_be_closed_in_runs(folder, granted):
    if not granted.files:
        pytest.skip("this kernel has no Landlock")
    assert run_sandboxed(script("works"), folder, LIMITS, must_be_closed=True).files
    assert found(folder)["sum"] == 40_000


def test_a_closed_in_module_cannot_pretend_that_it_never_ran(folder, granted):
    if not granted.files:
        pytest.skip("this kernel has no Landlock")
    (folder / "code").write_text(str(sandbox.NOT_RUN))
    with pytest.raises(ModelRefused) as caught:
        run_sandboxed(script("ends"), folder, LIMITS, must_be_closed=True)
    assert caught.value.reason is Refusal.CRASHED


def test_the_default_limits_are_the_documented_ones():
    assert vars(Limits()) == {
        "memory_bytes": 4 * 2**30,
        "cpu_seconds": 600,
        "wall_seconds": 900,
        "file_bytes": 2**30,
    }
