"""A small registry with toy models, signed by toy keys: made once, copied for each test."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.project import Project
from batchinf_assets.registry.artifact import (
    ArtifactDraft,
    draft_artifact,
    input_schema,
)
from batchinf_assets.registry.card import GoldenRecord, OutputColumn, Training, describe
from batchinf_assets.registry.keyring import Keyring, read_keyring, write_keyring
from batchinf_assets.registry.keys import SigningKey, create_signing_key, load_signing_key
from batchinf_assets.registry.mirror import Mirror
from batchinf_assets.registry.profile import build_profile
from batchinf_assets.registry.promotion_record import Promotion
from batchinf_assets.registry.registry import ModelVersion, Registry
from batchinf_assets.registry.statement import ModelStatement
from batchinf_assets.registry.trust import promotion_log
from batchinf_assets.spec.contract import FeatureSpec
from batchinf_assets_tests.s3_server import ENVIRON, moto_server, new_bucket, place_at

NOW = datetime(2013, 7, 1, tzinfo=UTC)
DAY = timedelta(days=1)
COLUMNS = {
    "distance": FeatureSpec(type="float64"),
    "age": FeatureSpec(type="float64", nullable=True),
}
KEYS = {  # by name: valid from, valid until, counted from NOW
    "mine": (-30 * DAY, 30 * DAY),
    "colleague": (-30 * DAY, 30 * DAY),
    "former": (-30 * DAY, -DAY),
    "coming": (DAY, 30 * DAY),
    "leaked": (-30 * DAY, 30 * DAY),
}


def toy_draft(name: str = "toy", model: bytes = b"a model", **changed: Any) -> ArtifactDraft:
    """Draft an artifact whose model file nobody parses in this room."""
    rows = pa.table({"distance": [1.0, 2.0, 3.0], "age": [1.0, None, 2.0]})
    profile = build_profile(
        rows, np.array([0.1, 0.2, 0.3]), columns=COLUMNS, score_column="probability"
    )
    fields = {
        "name": name,
        "model_format": "skops",
        "origin": "trained here",
        "input_schema": input_schema(COLUMNS),
        "output_schema": (OutputColumn(name="probability"),),
        "training": Training(start=date(2013, 1, 1), end=date(2013, 4, 1), rows=3, positives=1),
        "metrics": {"auroc": 0.75},
        "golden": GoldenRecord(
            sha256="a" * 64, rows=3, positives=1, decision=0.5, metrics={"auroc": 0.1 + 0.2}
        ),
        "feature_definition": "f" * 64,
        "libraries": {"python": "3.11"},
        "scorer": "trees 1",
        "parity": (),
    }
    contents = {
        "model.skops": model,
        "profile.json": profile.to_json().encode(),
        "recipe.json": b"{}",
        "trees.parquet": b"PAR1",
    }
    return draft_artifact(describe(**{**fields, **changed}), contents)


@dataclass(frozen=True)
class Toys:
    """A registry, its keys, and what one does with them.

    Attributes:
        registry: `toy` v1 was promoted, then v2; v3 is signed only. `other` v1 was promoted.
        keys: By name; all but `stranger` are in the keyring.
        at: When everything was signed, and when it is verified.
    """

    registry: Registry
    keys: Mapping[str, SigningKey]
    at: datetime = NOW

    @property
    def keyring(self) -> Keyring:
        return read_keyring(self.registry.keys)

    def draft(self, *args: Any, **changed: Any) -> ArtifactDraft:
        return toy_draft(*args, **changed)

    def register(self, draft: ArtifactDraft, key: str = "mine", days: int = 30) -> ModelVersion:
        return self.registry.register(
            draft, self.keys[key], now=self.at, expires_at=self.at + days * DAY
        )

    def promote(
        self, version: ModelVersion, key: str = "mine", alias: str = "champion", **changed: Any
    ) -> Promotion:
        fields: dict[str, Any] = {
            "action": "promote",
            "version": version.version,
            "digest": version.digest,
            "reason": "A test",
            "by": "tests",
            "at": self.at,
            "forced": False,
            "clauses": (),
        }
        log = promotion_log(self.registry, version.name, alias)
        record = log.append(self.keys[key], after=log.length, **{**fields, **changed})
        self.registry.point(version.name, alias, version.version)
        return record

    def folder(self, name: str = "toy", version: str = "2") -> Path:
        return next((self.registry.artifact_root / name).glob(f"v{version}-*"))

    def record(self, number: int, name: str = "toy", alias: str = "champion") -> Path:
        folder = self.registry.artifact_root / name / "_promotions" / alias
        return folder / f"{number:06d}"

    def sign_again(self, folder: Path, key: str, **changed: Any) -> None:
        """Sign a folder's statement anew, as somebody could who has that key."""
        old = ModelStatement.model_validate_json((folder / "statement.json").read_bytes())
        changes = {"key_id": self.keys[key].id, **changed}
        for signature in folder.glob("statement.*.sig"):
            signature.unlink()
        for name, data in old.model_copy(update=changes).signed(self.keys[key]).items():
            (folder / name).write_bytes(data)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes seconds to make its database: once is enough."""
    root = tmp_path_factory.mktemp("toys")
    keys = {name: create_signing_key(root / "private" / f"{name}.pem") for name in KEYS}
    create_signing_key(root / "private" / "stranger.pem")
    ring = Keyring()
    for name, (start, end) in KEYS.items():
        ring = ring.with_key(keys[name].public, not_before=NOW + start, not_after=NOW + end)
    ring = ring.without_trust_in(keys["leaked"].id, at=NOW - DAY, reason="Laptop stolen")
    write_keyring(root / "keys", ring)
    toys = _toys(root)
    for model in (b"first", b"second"):
        toys.promote(toys.register(toy_draft(model=model)))
    toys.register(toy_draft(model=b"third"))
    toys.promote(toys.register(toy_draft("other")))
    return root


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One place for all: a client of a registry at a new place takes MLflow a tenth of a second."""
    return tmp_path_factory.mktemp("arena") / "toys"


@pytest.fixture
def toys(template: Path, arena: Path) -> Toys:
    database = Path("lake/_registry/registry.db")
    (arena / database).parent.mkdir(parents=True, exist_ok=True)
    for old in (*arena.iterdir(), *(arena / "lake").iterdir()):
        if old not in (arena / "lake", arena / "lake" / "_registry"):
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    shutil.copytree(template, arena, ignore=shutil.ignore_patterns("*.db"), dirs_exist_ok=True)
    with (
        closing(sqlite3.connect(template / database)) as made,
        closing(sqlite3.connect(arena / database)) as used,
    ):
        made.backup(used)  # in place: the client holds the file open
    marks = arena / "keys" / "promotions-seen.json"  # they are of one place, the template's
    marks.write_text(marks.read_text().replace(str(template.resolve()), str(arena.resolve())))
    return _toys(arena)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of a server of the S3 API on loopback."""
    with moto_server() as url:
        yield url


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket of the test's own, as boto3 shows it to whoever may write there."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    s3 = boto3.resource("s3", region_name="us-east-1", endpoint_url=s3_server)
    yield s3.Bucket(new_bucket(s3_server))
    s3.meta.client.close()


@pytest.fixture
def cloud(toys: Toys, s3_server: str, bucket: Any, tmp_path: Path) -> Toys:
    """The toys with their models on S3, where nothing was registered yet."""
    origin = place_at(s3_server, bucket.name, "models")
    mirror = Mirror.of(origin, {"BATCHINF_CACHE": str(tmp_path / "cache")})
    return replace(toys, registry=replace(toys.registry, artifact_root=mirror))


@pytest.fixture
def unprivileged() -> Callable[[], AbstractContextManager[None]]:
    """Give up the rights of root for a while: to root no folder is read-only."""

    @contextmanager
    def as_nobody() -> Iterator[None]:
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)

    return as_nobody


@pytest.fixture
def registry(toys: Toys) -> Registry:
    return toys.registry


def _toys(root: Path) -> Toys:
    project = Project(
        root=root,
        lake=root / "lake",
        landing=root / "landing",
        dagster_home=root / "dagster",
        keys=root / "keys",
    )
    keys = {
        path.stem: load_signing_key(root, {"BATCHINF_SIGNING_KEY_FILE": str(path)})
        for path in (root / "private").iterdir()
    }
    return Toys(registry=Registry.at(project, {}), keys=keys)
