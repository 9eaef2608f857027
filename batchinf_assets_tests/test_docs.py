"""The documents say what is true: their commands run, and every field and command is in them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from batchinf_assets.cli import main
from batchinf_assets.errors import Refusal
from batchinf_assets.features.lineage import column_lineage
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.registry.card import ModelCard, SignedFile
from batchinf_assets.registry.keyring import PublicKey, init_keys, read_keyring
from batchinf_assets.registry.promotion_record import Promotion
from batchinf_assets.registry.statement import ModelStatement
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
FIRST = (CHECKOUT / "docs" / "first-pipeline.md").read_text(encoding="utf-8")
AUDIT = (CHECKOUT / "docs" / "audit.md").read_text(encoding="utf-8")
PIPELINES = (CHECKOUT / "docs" / "pipelines.md").read_text(encoding="utf-8")
FILES_OF_A_MODEL = [name for kind in get_args(SignedFile) for name in get_args(kind)]
MODEL_FORMAT = (CHECKOUT / "docs" / "formats" / "model.md").read_text(encoding="utf-8")
IN_A_BROWSER = "batchinf_assets_tests/evaluation/report/test_pages_in_a_browser.py"
MAKEFILE = (CHECKOUT / "Makefile").read_text(encoding="utf-8")


def console_lines(document: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", document, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        here = (*path, name)
        found += commands(command, here) if isinstance(command, click.Group) else [here]
    return found


def batchinf(arguments: str) -> int:
    return CliRunner().invoke(main, shlex.split(arguments)).exit_code


def test_the_readme_fits_two_screens() -> None:
    assert len(README.splitlines()) <= 90


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", README))
    assert named
    assert named <= targets


def test_a_test_that_needs_a_program_which_is_missing_names_its_package() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", IN_A_BROWSER]
    environ = {**os.environ, "CI": "", "PATH": ""}
    run = subprocess.run(
        command, cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=False
    )
    assert "needs Debian's package chromium" in run.stdout, run.stdout + run.stderr
    assert run.returncode == 0


def test_every_link_in_the_readme_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (CHECKOUT / link).exists()] == []


@pytest.fixture
def whole_year(project: Project, world: World, environ: dict[str, str]) -> Project:
    """The process's project with every day of 2013 landed, as `make demo` leaves it."""
    assert environ["BATCHINF_LANDING"] == str(project.landing)
    shutil.copytree(world.landing, project.landing, dirs_exist_ok=True)
    return project


def test_the_commands_of_the_readme_run_as_written(whole_year: Project) -> None:
    """Run in order, after what `make demo` does, in a test's own landing folder and lake."""
    batchinf("backfill run flight_delays --from 2013-07-04 --to 2013-07-05")
    exits: list[tuple[str, int]] = []
    for line in console_lines(README):
        words = shlex.split(line.replace("data/landing", str(whole_year.landing)))
        if words[0] == "truncate":
            with open(words[3], "r+b") as landed:  # noqa: PTH123
                landed.truncate(int(words[2]))
        elif words[0] == ".venv/bin/batchinf":
            exits.append((line, batchinf(shlex.join(words[1:]))))
    broken = ".venv/bin/batchinf run flight_delays 2013-07-05"
    assert exits.count((broken, 1)) == 1
    assert exits.count((broken, 0)) == 1
    assert {line for line, code in exits if code != 0} == {broken}


def block(document: str, language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", document, flags=re.DOTALL)
    return found


def test_the_first_pipeline_loads_and_its_sql_gives_every_declared_feature(tmp_path: Path) -> None:
    folder = tmp_path / "no_shows"
    folder.mkdir()
    (folder / "defs.yaml").write_text(block(FIRST, "yaml"))
    (folder / "features.sql").write_text(block(FIRST, "sql"))
    declared = load_pipeline("no_shows", tmp_path)
    assert set(column_lineage(declared)) == set(declared.spec.feature_table)


@pytest.mark.usefixtures("whole_year")
def test_a_notebook_gets_the_rows_that_training_gets() -> None:
    names: dict[str, Any] = {}
    source = block(FIRST, "python").replace("no_shows", "flight_delays")
    exec(source.replace("declared_windows(pipeline)", "declared_windows(pipeline)[:2]"), names)
    features, label = names["features"], names["label"]
    assert list(features.columns) == list(names["pipeline"].spec.features.columns)
    assert len(features) == len(label) == names["labelled"].rows.num_rows > 1_000
    assert label.dtype == bool


@pytest.mark.parametrize("document", [FIRST, AUDIT])
def test_every_command_that_a_guide_names_exists(document: str) -> None:
    named = set(re.findall(r"`(?:batchinf )([a-z ]+?)(?= [a-z]+_[a-z]+| data/|`)", document))
    known = {" ".join(command) for command in commands(main)}
    assert named
    assert named - known == set()


@pytest.mark.parametrize("field", sorted(PipelineSpec.model_fields))
def test_every_field_of_the_spec_is_documented(field: str) -> None:
    assert f"`{field}`" in PIPELINES


@pytest.mark.parametrize("command", commands(main), ids=" ".join)
def test_every_command_says_what_it_does(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*command, "--help"])
    assert result.exit_code == 0
    assert len(result.output.split("\n\n")) >= 3


@pytest.mark.parametrize("code", sorted(Refusal))
def test_every_way_to_refuse_a_model_is_documented(code: Refusal) -> None:
    assert f"`{code}`" in MODEL_FORMAT


@pytest.mark.parametrize("name", sorted(FILES_OF_A_MODEL))
def test_every_file_of_a_model_is_documented(name: str) -> None:
    assert f"`{name}`" in MODEL_FORMAT


@pytest.mark.parametrize("document", [ModelCard, ModelStatement, Promotion, PublicKey])
def test_every_field_of_a_signed_document_is_documented(document: type[BaseModel]) -> None:
    assert [name for name in document.model_fields if f"`{name}`" not in MODEL_FORMAT] == []


def test_the_folder_of_keys_that_a_deployment_makes_is_one_that_is_taken(tmp_path: Path) -> None:
    document = (CHECKOUT / "deploy" / "postgres" / "README.md").read_text(encoding="utf-8")
    (mode,) = re.findall(r"sudo install -d .* -m (\d+) .*[{,/]keys\b", document)
    folder = tmp_path / "keys"
    folder.mkdir()
    folder.chmod(int(mode, 8))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    key = init_keys(folder, not_before=at, not_after=at + timedelta(days=1))
    assert read_keyring(folder).find(key.id) is not None
