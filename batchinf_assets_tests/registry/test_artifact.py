import errno
import hashlib
import json
import os
import shutil

import pytest

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.artifact import (
    artifact_folder,
    draft_artifact,
    input_schema,
    open_artifact,
    place_artifact,
    require_schema,
    schema_differences,
)
from batchinf_assets.registry.card import FileDigest
from batchinf_assets.registry.statement import ModelStatement
from batchinf_assets.spec.contract import FeatureSpec

COLUMNS = {
    "distance": FeatureSpec(type="float64"),
    "age": FeatureSpec(type="float64", nullable=True),
}


def signed(toys, draft, **changed):
    fields = {
        "name": draft.card.name,
        "version": "7",
        "feature_definition": draft.card.feature_definition,
        "created_at": toys.at,
        "expires_at": toys.at.replace(year=2014),
        "key_id": toys.keys["mine"].id,
        "files": {**draft.files},
    }
    return ModelStatement(**{**fields, **changed}).signed(toys.keys["mine"])


def opened(toys, root, draft, name="toy"):
    return open_artifact(
        root, name=name, version="7", digest=draft.digest, keyring=toys.keyring, at=toys.at
    )


@pytest.fixture
def root(tmp_path):
    return tmp_path / "lake of models"


def test_an_artifact_opens_as_it_was_placed(toys, root):
    draft = toys.draft()
    folder = place_artifact(root, draft, "7", signed(toys, draft))
    artifact = opened(toys, root, draft)
    assert folder == artifact.folder == root / "toy" / f"v7-{draft.digest[:16]}"
    assert (artifact.card, artifact.digest, artifact.contents) == (
        draft.card,
        draft.digest,
        draft.contents,
    )
    assert artifact.profile.rows == 3
    assert [column.name for column in artifact.card.input_schema] == ["distance", "age"]
    assert [column.nullable for column in artifact.card.input_schema] == [False, True]


def test_the_digest_binds_card_and_files(toys):
    draft = toys.draft()
    assert draft.digest == hashlib.sha256(draft.contents["model.json"]).hexdigest()
    for name, bound in draft.card.files.items():
        data = draft.contents[name]
        assert bound == FileDigest(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    assert {*draft.contents} == {*draft.card.files, "model.json"}


def test_the_same_content_has_the_same_digest_in_every_order(toys):
    draft = toys.draft()
    contents = {name: draft.contents[name] for name in reversed(draft.card.files)}
    assert draft_artifact(draft.card, contents).digest == draft.digest
    assert draft_artifact(draft.card, {**contents, "model.skops": b"x"}).digest != draft.digest


def test_an_opened_artifact_does_not_show_its_bytes(toys, root):
    draft = toys.draft(model=b"many bytes")
    place_artifact(root, draft, "7", signed(toys, draft))
    assert "many bytes" not in repr(opened(toys, root, draft)) + repr(draft)


def test_a_lake_that_moved_still_opens(toys, root, tmp_path):
    draft = toys.draft()
    place_artifact(root, draft, "7", signed(toys, draft))
    assert opened(toys, shutil.move(root, tmp_path / "clone"), draft).card == draft.card


def test_an_artifact_is_never_written_over(toys, root):
    draft = toys.draft()
    folder = place_artifact(root, draft, "7", signed(toys, draft))
    before = (folder / "model.skops").stat().st_ino
    with pytest.raises(FileExistsError):
        place_artifact(root, draft, "7", signed(toys, draft))
    assert (folder / "model.skops").stat().st_ino == before
    assert [*folder.parent.iterdir()] == [folder]


@pytest.mark.parametrize("nth", range(1, 11))
def test_a_full_disk_leaves_a_whole_artifact_or_none(toys, root, monkeypatch, nth):
    calls, real = [], os.fsync
    draft = toys.draft()

    def failing(descriptor):
        calls.append(descriptor)
        if len(calls) == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="No space"):
        place_artifact(root, draft, "7", signed(toys, draft))
    placed = [*(root / "toy").iterdir()]
    assert len(placed) == (1 if nth > 8 else 0)  # seven files and their folder come first
    for _ in placed:
        assert opened(toys, root, draft).card == draft.card


def forged(toys, root, draft, change, **stated):
    """An artifact whose card a trusted key signed although it contradicts itself."""
    card = json.loads(draft.contents["model.json"])
    change(card)
    content = json.dumps(card).encode()
    bound = FileDigest(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    files = {**draft.files, "model.json": bound, **stated.pop("files", {})}
    files = {name: digest for name, digest in files.items() if digest}
    folder = artifact_folder(root, "toy", "7", bound.sha256)
    folder.mkdir(parents=True)
    contents = {
        **draft.contents,
        "model.json": content,
        **signed(toys, draft, files=files, **stated),
    }
    for name, data in contents.items():
        if name in files or name.startswith("statement"):
            (folder / name).write_bytes(data)
    with pytest.raises(ModelRefused, match=r"^Model toy v7 \(v7-") as refusal:
        open_artifact(
            root, name="toy", version="7", digest=bound.sha256, keyring=toys.keyring, at=toys.at
        )
    return refusal.value


def test_a_card_that_describes_another_model_is_refused(toys, root):
    refusal = forged(toys, root, toys.draft(), lambda card: card.update(name="other"))
    assert refusal.reason is Refusal.OTHER_MODEL
    assert "model.json describes model 'other'" in str(refusal)


def test_a_card_of_other_features_than_were_signed_is_refused(toys, root):
    refusal = forged(toys, root, toys.draft(), lambda card: card.update(feature_definition="g"))
    assert refusal.reason is Refusal.CHANGED_FILE


def test_a_card_that_lists_other_files_than_were_signed_is_refused(toys, root):
    refusal = forged(toys, root, toys.draft(), lambda card: card["files"].pop("recipe.json"))
    assert refusal.reason is Refusal.CHANGED_FILE
    assert "card and statement list other files" in str(refusal)


def test_a_card_that_lists_other_bytes_than_were_signed_is_refused(toys, root):
    def change(card):
        card["files"]["recipe.json"]["bytes"] = 3

    assert forged(toys, root, toys.draft(), change).reason is Refusal.CHANGED_FILE


@pytest.mark.parametrize("name", ["model.skops", "profile.json"])
def test_an_artifact_without_model_or_profile_is_refused(toys, root, name):
    refusal = forged(
        toys, root, toys.draft(), lambda card: card["files"].pop(name), files={name: None}
    )
    assert refusal.reason is Refusal.MISSING_FILE
    assert f"the statement lists no {name}" in str(refusal)


def test_a_card_of_a_format_before_signatures_is_refused(toys, root):
    refusal = forged(toys, root, toys.draft(), lambda card: card.update(format_version=1))
    assert refusal.reason is Refusal.UNREADABLE


def test_a_statement_without_card_is_refused(toys, root):
    draft = toys.draft()
    files = {name: digest for name, digest in draft.files.items() if name != "model.json"}
    folder = place_artifact(root, draft, "7", signed(toys, draft, files=files))
    (folder / "model.json").unlink()
    with pytest.raises(ModelRefused, match=r"the statement lists no model\.json") as refusal:
        opened(toys, root, draft)
    assert refusal.value.reason is Refusal.MISSING_FILE


def test_a_profile_that_contradicts_itself_is_refused(toys, root):
    draft = toys.draft()
    contents = {name: draft.contents[name] for name in draft.card.files}
    broken = draft_artifact(draft.card, {**contents, "profile.json": b"{}"})
    place_artifact(root, broken, "7", signed(toys, broken))
    with pytest.raises(ModelRefused, match="reference profile is invalid") as refusal:
        opened(toys, root, broken)
    assert refusal.value.reason is Refusal.UNDESCRIBED


def test_the_digest_that_was_asked_for_counts(toys, root):
    draft = toys.draft()
    place_artifact(root, draft, "7", signed(toys, draft))
    same_folder = draft.digest[:16] + "0" * 48
    with pytest.raises(ModelRefused, match=r"model\.json does not have the registered") as refusal:
        open_artifact(
            root, name="toy", version="7", digest=same_folder, keyring=toys.keyring, at=toys.at
        )
    assert refusal.value.reason is Refusal.CHANGED_FILE


def test_the_declared_features_fit_their_own_model(toys, root):
    draft = toys.draft()
    place_artifact(root, draft, "7", signed(toys, draft))
    require_schema(opened(toys, root, draft), COLUMNS)


SCHEMA_CASES = [
    ({"distance": COLUMNS["distance"]}, ["'age' is missing"]),
    ({**COLUMNS, "speed": FeatureSpec(type="float64")}, ["'speed' is extra"]),
    (dict(reversed(COLUMNS.items())), ["'distance', 'age' are reordered"]),
    (
        {**COLUMNS, "distance": FeatureSpec(type="int32")},
        ["'distance' is int32, the model learned float64"],
    ),
    (
        {**COLUMNS, "age": FeatureSpec(type="float64")},
        ["'age' is float64, the model learned nullable float64"],
    ),
    (
        {"ages": COLUMNS["age"], "distance": FeatureSpec(type="string")},
        [
            "'distance' is string, the model learned float64",
            "'age' is missing",
            "'ages' is extra",
        ],
    ),
]


@pytest.mark.parametrize(("columns", "problems"), SCHEMA_CASES)
def test_each_feature_that_the_model_did_not_learn_is_named(toys, root, columns, problems):
    assert [*schema_differences(input_schema(COLUMNS), input_schema(columns))] == problems
    draft = toys.draft()
    place_artifact(root, draft, "7", signed(toys, draft))
    with pytest.raises(ModelRefused, match=r"^Model toy \(") as refusal:
        require_schema(opened(toys, root, draft), columns)
    assert refusal.value.reason is Refusal.SCHEMA
    assert "; ".join(problems) in str(refusal.value)


def test_bounds_and_descriptions_of_features_may_change():
    described = FeatureSpec(type="float64", min=0, description="Miles", drift=False)
    changed = {**COLUMNS, "distance": described}
    assert not [*schema_differences(input_schema(COLUMNS), input_schema(changed))]
