import json
import logging
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModelAlias
from sqlalchemy import event
from sqlalchemy.orm import Session

from batchinf_assets.errors import ModelRefused, ModelUnavailable, Refusal, UsageError
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.project import Project
from batchinf_assets.registry.keyring import init_keys
from batchinf_assets.registry.registry import DIGEST_TAG, Registry
from batchinf_assets.registry.trust import open_version


def project_at(lake, keys=Path("/nowhere/keys")):
    return Project(root=lake, lake=lake, landing=lake, dagster_home=lake, keys=keys)


def registry_at(lake, environ=None):
    return Registry.at(project_at(lake), environ or {})


def mlflow_client(registry):
    from mlflow import MlflowClient

    registry.versions("any")  # the client is made, its warnings over
    return MlflowClient(tracking_uri=registry.tracking_uri, registry_uri=registry.tracking_uri)


def test_a_registered_model_is_the_challenger_and_found_by_that_alias(toys):
    draft = toys.draft("found")
    version = toys.register(draft)
    assert version == toys.registry.resolve("found", "challenger")
    assert (version.name, version.version, version.aliases) == ("found", "1", ("challenger",))
    assert version.digest == draft.digest
    age = datetime.now(UTC) - version.created_at
    assert timedelta(0) <= age < timedelta(minutes=5)
    assert open_version(toys.registry, version, toys.at).card == draft.card


def test_registering_never_moves_the_champion(toys):
    before = toys.registry.resolve("toy", "champion").version
    toys.register(toys.draft(model=b"newest"))
    assert toys.registry.resolve("toy", "champion").version == before == "2"
    assert [(v.version, v.aliases) for v in toys.registry.versions("toy")] == [
        ("1", ()),
        ("2", ("champion",)),
        ("3", ()),
        ("4", ("challenger",)),
    ]


def test_the_statement_binds_what_the_registry_was_told(toys):
    version = toys.register(toys.draft("bound"), days=7)
    statement = open_version(toys.registry, version, toys.at).statement
    assert (statement.name, statement.version) == ("bound", version.version)
    assert statement.created_at == toys.at
    assert statement.expires_at - statement.created_at == timedelta(days=7)
    assert statement.key_id == toys.keys["mine"].id
    assert statement.feature_definition == "f" * 64


def test_the_same_content_registered_again_is_a_version_of_its_own(toys):
    first, second = toys.register(toys.draft("again")), toys.register(toys.draft("again"))
    assert [first.version, second.version] == ["1", "2"]
    assert first.digest == second.digest
    for version in (first, second):
        assert open_version(toys.registry, version, toys.at).statement.version == version.version


def test_an_alias_points_where_it_was_told_to(toys):
    toys.registry.point("toy", "champion", "1")
    assert toys.registry.resolve("toy", "champion").version == "1"


def test_a_version_carries_all_its_aliases_sorted(toys):
    toys.registry.point("toy", "champion", "3")
    toys.registry.point("toy", "a_first", "3")
    version = toys.registry.version("toy", "3")
    assert version.aliases == ("a_first", "challenger", "champion")
    assert toys.registry.resolve("toy", "champion") == version


def test_versions_are_listed_in_numerical_order(toys):
    for _ in range(9):
        toys.register(toys.draft())
    assert [int(v.version) for v in toys.registry.versions("toy")] == list(range(1, 13))


def test_an_unknown_model_has_no_versions(registry):
    assert registry.versions("unknown") == []


@pytest.mark.parametrize(("name", "alias"), [("toy", "unknown"), ("unknown", "champion")])
def test_an_unknown_model_or_alias_is_unavailable(registry, name, alias):
    with pytest.raises(
        ModelUnavailable, match=f"'{name}' with alias '{alias}'.*batchinf model register <pipeline>"
    ):
        registry.resolve(name, alias)


@pytest.mark.parametrize(
    ("name", "version", "known"),
    [("toy", "4", "1, 2, 3"), ("unknown", "1", "none"), ("toy", "1\nx", "1, 2, 3")],
)
def test_an_unknown_version_is_unavailable_and_the_known_ones_named(registry, name, version, known):
    with pytest.raises(ModelUnavailable, match=f"Known versions: {known}") as error:
        registry.version(name, version)
    assert str(error.value).isprintable()


def test_a_number_that_was_taken_but_never_signed_is_not_listed(toys):
    """Writing fails between the version's number and its files."""
    room = toys.registry.artifact_root
    shutil.move(room, room.with_name("aside"))
    room.touch()
    with pytest.raises(OSError, match="_models"):
        toys.register(toys.draft())
    room.unlink()
    shutil.move(room.with_name("aside"), room)
    assert [v.version for v in toys.registry.versions("toy")] == ["1", "2", "3"]
    assert toys.registry.resolve("toy", "challenger").version == "3"
    assert toys.register(toys.draft()).version == "5"
    with pytest.raises(ModelUnavailable, match=r"no version '4'.*Known versions: 1, 2, 3, 5"):
        toys.registry.version("toy", "4")


def test_an_alias_of_a_number_that_was_never_signed_is_refused(toys):
    client = mlflow_client(toys.registry)
    client.create_model_version("toy", "nowhere")
    toys.registry.point("toy", "champion", "4")
    with pytest.raises(ModelRefused, match="Version 4 of model 'toy' has no SHA-256") as refusal:
        toys.registry.resolve("toy", "champion")
    assert refusal.value.reason is Refusal.NOT_REGISTERED_HERE


def test_a_version_that_something_else_registered_is_refused(registry):
    client = mlflow_client(registry)
    client.create_registered_model("theirs")
    client.create_model_version("theirs", "s3://bucket/model")
    client.set_registered_model_alias("theirs", "champion", "1")
    with pytest.raises(ModelRefused, match=r"Version 1 of model 'theirs' .* not registered by"):
        registry.resolve("theirs", "champion")
    assert registry.versions("theirs") == []


@pytest.mark.parametrize("digest", ["../../elsewhere", "F" * 64, "f" * 63, "f" * 64 + "\n", ""])
def test_a_tag_that_is_no_digest_is_refused(registry, digest):
    mlflow_client(registry).set_model_version_tag("toy", "2", DIGEST_TAG, digest)
    for ask in (lambda: registry.resolve("toy", "champion"), lambda: registry.version("toy", "2")):
        with pytest.raises(ModelRefused, match=r"Version 2 of model 'toy' has no SHA-256"):
            ask()


def test_people_see_scorer_and_golden_metrics_in_mlflow(registry):
    tags = mlflow_client(registry).get_model_version("toy", "1").tags
    assert tags["batchinf.scorer"] == "trees 1"
    assert tags["batchinf.golden.auroc"] == repr(0.1 + 0.2)


def test_asking_an_absent_registry_creates_nothing(tmp_path):
    registry = registry_at(tmp_path / "no lake")
    with pytest.raises(ModelUnavailable, match="'toy' with alias 'champion'"):
        registry.resolve("toy", "champion")
    assert registry.versions("toy") == []
    assert list(tmp_path.iterdir()) == []


def test_a_moved_lake_still_resolves(toys, tmp_path):
    lake = toys.registry.artifact_root.parent
    clone = registry_at(shutil.copytree(lake, tmp_path / "clone"))
    version = clone.resolve("toy", "champion")
    shutil.rmtree(lake / "_models")
    there = replace(clone, keys=toys.registry.keys)
    artifact = open_version(there, version, toys.at)
    assert artifact.folder.parent == tmp_path / "clone" / "_models" / "toy"
    assert artifact.contents["model.skops"] == b"second"


@dataclass(frozen=True)
class Raced:
    """Two processes that each registered `one`, `two`, `two` in a lake without registry.

    Attributes:
        registry: What they made.
        cwd: Where they ran.
        codes: Their exit codes.
        printed: What each wrote to standard output.
        complained: What each wrote to standard error.
    """

    registry: Registry
    cwd: Path
    codes: list[int]
    printed: list[str]
    complained: list[str]


@pytest.fixture(scope="module")
def raced(tmp_path_factory, template):
    """MLflow takes seconds to make a registry: one race for all tests of it."""
    root, now = tmp_path_factory.mktemp("race with space"), datetime(2013, 7, 1, tzinfo=UTC)
    init_keys(root / "keys", not_before=now, not_after=now + timedelta(days=9))
    (root / "cwd").mkdir()
    script = Path(__file__).with_name("register_at_once.py")
    drafted = next((template / "lake" / "_models" / "toy").glob("v1-*"))
    command = [sys.executable, str(script), str(root), str(drafted)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=root / "cwd", **pipes) for _ in range(2)]
    printed, complained = zip(*(process.communicate() for process in both), strict=True)
    return Raced(
        registry=Registry.at(project_at(root / "lake", root / "keys"), {}),
        cwd=root / "cwd",
        codes=[process.returncode for process in both],
        printed=list(printed),
        complained=list(complained),
    )


def test_processes_that_register_at_once_share_one_new_registry(raced):
    assert raced.codes == [0, 0], raced.complained
    for name, count in (("one", 2), ("two", 4)):
        found = raced.registry.versions(name)
        assert [version.version for version in found] == [str(n + 1) for n in range(count)]


def test_versions_that_were_registered_at_once_are_each_signed(raced):
    at = datetime(2013, 7, 1, tzinfo=UTC)
    for name in ("one", "two"):
        for version in raced.registry.versions(name):
            statement = open_version(raced.registry, version, at).statement
            assert (statement.name, statement.version) == (name, version.version)
    claimed = sorted(line for printed in raced.printed for line in printed.splitlines())
    assert claimed == ["one 1", "one 2", "two 1", "two 2", "two 3", "two 4"]


def test_a_new_registry_says_nothing_and_writes_nothing_outside_the_lake(raced):
    assert raced.complained == ["", ""]
    assert list(raced.cwd.iterdir()) == []
    lake = raced.registry.artifact_root.parent
    assert sorted(path.name for path in lake.iterdir()) == ["_models", "_registry"]
    assert [path.name for path in (lake / "_registry").iterdir()] == ["registry.db"]


def test_an_alias_that_another_process_makes_at_the_same_moment_is_moved(toys):
    for model in (b"first", b"second"):
        toys.register(toys.draft("one", model=model))
    others = []

    def make_it_first(session, *_):
        if not others and any(isinstance(row, SqlRegisteredModelAlias) for row in session.new):
            others.append(row_of_the_alias(toys.registry, version="1"))

    event.listen(Session, "before_flush", make_it_first)
    try:
        toys.registry.point("one", "champion", "2")
    finally:
        event.remove(Session, "before_flush", make_it_first)
    assert others == [1]
    assert toys.registry.resolve("one", "champion").version == "2"


def row_of_the_alias(registry, *, version):
    """Insert what MLflow inserts for `one@champion`, as another process; return how many rows."""
    path = registry.tracking_uri.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database, database:
        return database.execute(
            "INSERT INTO registered_model_aliases (workspace, name, alias, version) "
            "SELECT workspace, name, 'champion', ? FROM registered_models WHERE name = 'one'",
            (version,),
        ).rowcount


def test_asking_says_nothing(toys, caplog, capfd):
    caplog.set_level(logging.INFO)
    toys.register(toys.draft())
    toys.registry.resolve("toy", "champion")
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_a_damaged_database_is_named(tmp_path):
    registry = registry_at(tmp_path)
    database = tmp_path / "_registry" / "registry.db"
    database.parent.mkdir()
    database.write_bytes(b"no database at all" * 100)
    with pytest.raises(ModelUnavailable, match=r"registry\.db failed: .*not a database"):
        registry.resolve("toy", "champion")


@pytest.mark.parametrize("password", ["secret", "sec@ret", "sec:ret", "%73ecret"])
def test_a_server_that_does_not_answer_is_named_without_its_password(
    tmp_path, monkeypatch, password
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    uri = f"http://someone:{password}@127.0.0.1:{port}"
    registry = registry_at(tmp_path, {"MLFLOW_TRACKING_URI": uri})
    with pytest.raises(ModelUnavailable, match=rf"registry http://127\.0\.0\.1:{port} fail") as at:
        registry.resolve("toy", "champion")
    for part in ("someone", "sec", "ret@", "73ecret"):
        assert part not in str(at.value)


class Unavailable(BaseHTTPRequestHandler):
    """A server that is overloaded whoever asks."""

    asked = 0

    def do_GET(self):
        type(self).asked += 1
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nothing is printed."""


def test_a_server_that_stays_unavailable_is_asked_a_few_times(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    with ThreadingHTTPServer(("127.0.0.1", 0), Unavailable) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        uri = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(ModelUnavailable, match="Max retries"):
            registry_at(tmp_path, {"MLFLOW_TRACKING_URI": uri}).resolve("toy", "champion")
        server.shutdown()
        thread.join()
    assert Unavailable.asked == 4


def test_options_of_a_uri_are_not_shown(tmp_path):
    uri = "postgresql+nodriver://host/models?password=secret"
    registry = registry_at(tmp_path, {"MLFLOW_TRACKING_URI": uri})
    with pytest.raises(ModelUnavailable, match="The model registry postgres") as error:
        registry.resolve("toy", "champion")
    assert "secret" not in str(error.value)


def test_the_environment_names_another_registry(tmp_path):
    registry = registry_at(tmp_path, {"MLFLOW_TRACKING_URI": "sqlite:////srv/models.db"})
    assert registry.tracking_uri == "sqlite:////srv/models.db"
    assert registry.artifact_root == tmp_path / "_models"


def test_an_empty_environment_variable_counts_as_unset(tmp_path):
    registry = registry_at(tmp_path, {"MLFLOW_TRACKING_URI": ""})
    assert registry.tracking_uri == f"sqlite:///{tmp_path}/_registry/registry.db"


def test_a_relative_lake_means_the_same_registry_wherever_it_is_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert registry_at(Path("lake")) == registry_at(tmp_path / "lake")


@pytest.mark.parametrize("name", ["what?", "percent%41"])
def test_a_path_that_an_sqlite_uri_would_change_is_wrong_use(tmp_path, name):
    with pytest.raises(UsageError, match=r"contains '[?%]'"):
        registry_at(tmp_path / name)
    elsewhere = {"MLFLOW_TRACKING_URI": "http://localhost:5000"}
    assert registry_at(tmp_path / name, elsewhere).artifact_root == tmp_path / name / "_models"


def test_a_path_with_odd_characters_is_taken_as_it_is(toys, tmp_path):
    lake = toys.registry.artifact_root.parent
    odd = registry_at(shutil.copytree(lake, tmp_path / "odd" / "a #1 ü"))
    odd = replace(odd, keys=toys.registry.keys)
    added = replace(toys, registry=odd).register(toys.draft())
    assert odd.resolve("toy", "challenger") == added
    assert toys.registry.resolve("toy", "challenger").version == "3"
    assert [path.name for path in (tmp_path / "odd").iterdir()] == ["a #1 ü"]


@pytest.mark.parametrize("keys", ["lake", "lake/keys", "link/keys"])
def test_keys_inside_the_lake_are_wrong_use(tmp_path, keys):
    (tmp_path / "lake").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "lake")
    with pytest.raises(UsageError, match=r"lies inside the lake.*BATCHINF_KEYS"):
        Registry.at(project_at(tmp_path / "lake", tmp_path / keys), {})


def test_keys_beside_models_of_their_own_place_are_wrong_use(tmp_path):
    project = project_at(tmp_path / "lake", tmp_path / "models" / "keys")
    with pytest.raises(UsageError, match=r"lies inside the folder of models.*BATCHINF_KEYS"):
        Registry.at(project, {"BATCHINF_MODELS": str(tmp_path / "models")})


@pytest.mark.parametrize("named", ["{root}/models", "models"])
def test_models_can_lie_in_a_folder_beside_the_lake(toys, tmp_path, named):
    lake = toys.registry.artifact_root.parent
    project = replace(project_at(lake, toys.registry.keys), root=tmp_path)
    registry = Registry.at(project, {"BATCHINF_MODELS": named.format(root=tmp_path)})
    assert registry.artifact_root == tmp_path / "models"
    version = replace(toys, registry=registry).register(toys.draft("beside"))
    assert open_version(registry, version, toys.at).folder.parent == tmp_path / "models" / "beside"


def test_models_can_lie_on_s3_beside_a_local_lake(tmp_path):
    environ = {"BATCHINF_MODELS": "s3://bucket/our/models", "BATCHINF_CACHE": str(tmp_path)}
    registry = registry_at(tmp_path / "lake", environ)
    assert registry.artifact_root.as_uri() == "s3://bucket/our/models"
    assert registry.artifact_root.cache.is_relative_to(tmp_path)
    assert registry.tracking_uri == f"sqlite:///{tmp_path}/lake/_registry/registry.db"


def test_models_of_a_lake_on_s3_lie_inside_it_unless_said_otherwise(tmp_path):
    server = {"MLFLOW_TRACKING_URI": "http://localhost:5000"}
    project = replace(project_at(tmp_path), lake=S3Place(bucket="bucket", key="lake"))
    assert Registry.at(project, server).artifact_root.as_uri() == "s3://bucket/lake/_models"
    beside = Registry.at(project, {**server, "BATCHINF_MODELS": "models"})
    assert beside.artifact_root == tmp_path / "models"


def test_a_lake_on_s3_without_a_registry_of_its_own_is_wrong_use(tmp_path):
    project = replace(project_at(tmp_path), lake=S3Place(bucket="bucket", key="lake"))
    with pytest.raises(UsageError, match=r"s3://bucket/lake is on S3.*MLFLOW_TRACKING_URI"):
        Registry.at(project, {})


@pytest.mark.parametrize("named", ["gs://bucket/models", "s3://bucket/../up", "s3://"])
def test_what_is_no_place_for_models_is_wrong_use(tmp_path, named):
    with pytest.raises(UsageError, match="BATCHINF_MODELS"):
        registry_at(tmp_path, {"BATCHINF_MODELS": named})


def test_the_environment_names_the_folder_of_keys(tmp_path):
    project = Project.here({"BATCHINF_KEYS": str(tmp_path / "mounted")}, root=tmp_path)
    assert Registry.at(project, {}).keys == tmp_path / "mounted"
    assert Registry.at(Project.here({}, root=tmp_path), {}).keys == tmp_path / "data" / "keys"


@pytest.fixture
def lying_server(toys):
    """A registry that answers every question for an alias with what `answer` holds."""
    digest = toys.registry.resolve("toy", "champion").digest
    answer = {"name": "toy", "version": "2", "creation_timestamp": 0}
    answer["tags"] = [{"key": DIGEST_TAG, "value": digest}]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"model_version": answer}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        uri = f"http://127.0.0.1:{server.server_port}"
        yield replace(toys.registry, tracking_uri=uri), answer
        server.shutdown()
        thread.join()


def test_a_server_that_tells_the_truth_is_believed(toys, lying_server):
    registry, _ = lying_server
    assert open_version(registry, registry.resolve("toy", "champion"), toys.at).card.name == "toy"


@pytest.mark.parametrize(
    "lie",
    [
        {"name": "other"},
        {"name": "TOY"},
        {"name": "../toy"},
        {"name": "toy\nbatchinf: fine"},
        {"version": "../2"},
        {"version": "02"},
        {"version": "\u0662"},
    ],
    ids=str,
)
def test_an_answer_about_something_else_is_refused(lying_server, lie):
    registry, answer = lying_server
    answer.update(lie)
    with pytest.raises(
        ModelRefused, match="Asked for model 'toy', the registry answers"
    ) as refusal:
        registry.resolve("toy", "champion")
    assert refusal.value.reason is Refusal.OTHER_MODEL
    assert str(refusal.value).isprintable()
