"""Model artifacts: immutable signed folders, verified byte by byte before anything is parsed.

What the card says is in `registry.card`, what is signed in `registry.statement`, which artifact an
alias names in `registry.registry`; turning rows into scores is in `scoring`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from batchinf_assets.errors import LostRace, ModelRefused, Refusal
from batchinf_assets.lake.files import place_folder
from batchinf_assets.registry.card import (
    FileDigest,
    FileName,
    InputColumn,
    ModelCard,
    SignedFile,
    read_card,
)
from batchinf_assets.registry.keyring import Keyring
from batchinf_assets.registry.mirror import Limits, Mirror, Models
from batchinf_assets.registry.plain_files import refused
from batchinf_assets.registry.profile import Profile
from batchinf_assets.registry.signing import LARGEST_DOCUMENT, SIGNATURE_BYTES, SIGNATURE_NAME
from batchinf_assets.registry.statement import (
    STATEMENT_FILE,
    ModelStatement,
    digest_of,
    verify_folder,
)
from batchinf_assets.registry.untrusted_text import one_line
from batchinf_assets.spec.contract import ColumnType, FeatureSpec
from batchinf_assets.spec.prediction import PredictionSpec

CARD_FILE: Literal["model.json"] = "model.json"
PROFILE_FILE: Literal["profile.json"] = "profile.json"
LARGEST_FILE = 1 << 31
"""Bytes of a file that are copied from S3 at most, so that no disk is filled."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A verified artifact.

    Attributes:
        folder: `<root>/<name>/v<version>-<first 16 digits of digest>`, or the copy of it.
        digest: SHA-256 of `model.json`, which binds the other files.
        card: What `model.json` says.
        profile: How features and score were spread in training.
        statement: What was signed.
        contents: The very bytes that were hashed, by file.
    """

    folder: Path
    digest: str
    card: ModelCard
    profile: Profile
    statement: ModelStatement
    contents: Mapping[SignedFile, bytes] = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class ArtifactDraft:
    """An artifact that has neither version nor signature yet.

    Attributes:
        card: What its `model.json` will say.
        contents: Every file that the signature will list.
        digest: SHA-256 of `model.json`.
    """

    card: ModelCard
    contents: Mapping[SignedFile, bytes] = field(repr=False)
    digest: str

    @property
    def files(self) -> Mapping[SignedFile, FileDigest]:
        """What binds each file."""
        return {name: digest_of(data) for name, data in self.contents.items()}


def artifact_folder(root: Models, name: str, version: str, digest: str) -> Models:
    """Return where a version lies below `root`."""
    return root / name / f"v{version}-{digest[:16]}"


def draft_artifact(card: ModelCard, contents: Mapping[FileName, bytes]) -> ArtifactDraft:
    """Bind files to a card; the card's own `files` are filled in here."""
    files = {name: digest_of(data) for name, data in sorted(contents.items())}
    bound = ModelCard.model_validate({**card.model_dump(), "files": files})
    written = bound.to_json()
    return ArtifactDraft(
        card=bound,
        contents={**contents, CARD_FILE: written},
        digest=digest_of(written).sha256,
    )


def place_artifact(
    root: Models, draft: ArtifactDraft, version: str, signed: Mapping[str, bytes]
) -> Models:
    """Write a signed artifact whole or not at all; on S3, one that is not whole never verifies.

    Args:
        root: Folder of all artifacts.
        draft: The artifact.
        version: Its version.
        signed: Statement and signature by file name.

    Raises:
        FileExistsError: It is there already, in a folder.
        LostRace: It is there already, on S3.
        StorageUnavailable: S3 does not answer.
        StorageRefused: It answers that this is forbidden.
        OSError: The disk is full or the folder cannot be written.
    """
    folder = artifact_folder(root, draft.card.name, version, draft.digest)
    contents = {**draft.contents, **signed}
    if isinstance(folder, Mirror):
        _upload(folder, contents)
    else:
        place_folder(folder, contents)
    return folder


def _upload(folder: Mirror, contents: Mapping[str, bytes]) -> None:
    """Write the card first, which only one can do, and last the statement, which makes it whole."""
    order = sorted(contents, key=lambda name: (name != CARD_FILE, name == STATEMENT_FILE))
    try:
        folder.add((name, contents[name]) for name in order)
    except FileExistsError as error:
        raise LostRace(
            f"{folder} is there already: another registry gave the same version to this model.",
            next_step="Register it again; registries that share BATCHINF_MODELS should be one: set "
            "MLFLOW_TRACKING_URI.",
        ) from error


def open_artifact(
    root: Models, *, name: str, version: str, digest: str, keyring: Keyring, at: datetime | None
) -> Artifact:
    """Verify an artifact from the signature down, and only then parse its card and profile.

    Args:
        root: Folder of all artifacts.
        name: The registered model's name.
        version: Its version.
        digest: SHA-256 that `model.json` must have, from the registry or a manifest.
        keyring: The trusted keys.
        at: The time that validity is held against; None asks whether it is authentic, whatever
            has expired since.

    Raises:
        ModelRefused: With the reason code of the first thing that is wrong.
        StorageUnavailable: It lies on S3, which does not answer.
        StorageRefused: S3 answers that this is forbidden.
    """
    folder = artifact_folder(root, name, version, digest)
    what = f"Model {name} v{version} ({folder.name})"
    if isinstance(folder, Mirror):
        folder = folder.copied(what, partial(_limits, folder, what))
    statement, contents = verify_folder(folder, name=name, version=version, keyring=keyring, at=at)
    if CARD_FILE not in contents:
        raise refused(what, f"the statement lists no {CARD_FILE}", Refusal.MISSING_FILE)
    if statement.files[CARD_FILE].sha256 != digest:
        reason = f"{CARD_FILE} does not have the registered digest {digest[:16]}…"
        raise refused(what, reason, Refusal.CHANGED_FILE)
    card = read_card(contents[CARD_FILE], what)
    _require_agreement(card, statement, what)
    return Artifact(
        folder=folder,
        digest=digest,
        card=card,
        profile=Profile.from_json(contents[PROFILE_FILE]),
        statement=statement,
        contents=contents,
    )


def _limits(folder: Mirror, what: str, names: Sequence[str]) -> Limits:
    """Bound every object that belongs to an artifact; one that does not is never copied."""
    if not names:
        raise refused(what, f"{folder} holds nothing", Refusal.MISSING_FILE)
    limits = {name: _limit(name) for name in names}
    for name, limit in limits.items():
        if limit is None:
            raise refused(what, f"{one_line(name)} does not belong to it", Refusal.ADDED_FILE)
    return {name: limit for name, limit in limits.items() if limit is not None}


def _limit(name: str) -> int | None:
    if name in _SIGNED_FILES:
        return LARGEST_FILE
    if name == STATEMENT_FILE:
        return LARGEST_DOCUMENT
    match = SIGNATURE_NAME.fullmatch(name)
    return SIGNATURE_BYTES if match and match["stem"] == "statement" else None


def _require_agreement(card: ModelCard, statement: ModelStatement, what: str) -> None:
    if card.name != statement.name:
        raise refused(what, f"{CARD_FILE} describes model '{card.name}'", Refusal.OTHER_MODEL)
    if card.feature_definition != statement.feature_definition:
        problem = f"{CARD_FILE} and statement name other features"
        raise refused(what, problem, Refusal.CHANGED_FILE)
    if {**card.files, CARD_FILE: statement.files[CARD_FILE]} != {**statement.files}:
        raise refused(what, "card and statement list other files", Refusal.CHANGED_FILE)
    for name in (card.model_file, PROFILE_FILE):
        if name not in card.files:
            raise refused(what, f"the statement lists no {name}", Refusal.MISSING_FILE)


def require_schema(artifact: Artifact, columns: Mapping[str, FeatureSpec]) -> None:
    """Require that a pipeline declares exactly the features that the model learned.

    Raises:
        ModelRefused: Names each feature that is missing, extra, reordered or of another type.
    """
    problems = list(schema_differences(artifact.card.input_schema, input_schema(columns)))
    if problems:
        raise ModelRefused(
            f"Model {artifact.card.name} ({artifact.digest[:16]}) does not fit the declared "
            f"features: {'; '.join(problems)}.",
            reason=Refusal.SCHEMA,
            next_step="Correct features.columns in defs.yaml, or train on them: "
            "`batchinf model register <pipeline>`.",
        )


def require_outputs(artifact: Artifact, prediction: PredictionSpec) -> None:
    """Require that the model tells the declared classes apart, where there are several.

    Raises:
        ModelRefused: It learned others, or another order of them was declared then.
    """
    learned = tuple(output.name for output in artifact.card.output_schema)
    if prediction.classes and learned != prediction.given:
        raise ModelRefused(
            f"Model {artifact.card.name} ({artifact.digest[:16]}) gives {', '.join(learned)}, not "
            f"what is declared: {', '.join(prediction.given)}.",
            reason=Refusal.SCHEMA,
            next_step="Correct prediction.classes in defs.yaml, or train on them: "
            "`batchinf model register <pipeline>`.",
        )


def input_schema(columns: Mapping[str, FeatureSpec]) -> tuple[InputColumn, ...]:
    """Return the declared features as a card names them."""
    return tuple(
        InputColumn(name=name, type=spec.type, nullable=spec.nullable)
        for name, spec in columns.items()
    )


def schema_differences(
    learned: tuple[InputColumn, ...], declared: tuple[InputColumn, ...]
) -> Iterator[str]:
    """Name every feature that is missing, extra, reordered or of another type."""
    known = {column.name: _kind(column.type, nullable=column.nullable) for column in learned}
    given = {column.name: _kind(column.type, nullable=column.nullable) for column in declared}
    for name, kind in known.items():
        if name not in given:
            yield f"'{name}' is missing"
        elif given[name] != kind:
            yield f"'{name}' is {given[name]}, the model learned {kind}"
    for name in given:
        if name not in known:
            yield f"'{name}' is extra"
    if {*known} == {*given} and [*known] != [*given]:
        moved = [a for a, b in zip(known, given, strict=True) if a != b]
        yield f"{', '.join(repr(name) for name in moved)} are reordered"


_SIGNED_FILES = frozenset(name for part in get_args(SignedFile) for name in get_args(part))


def _kind(type_: ColumnType, *, nullable: bool) -> str:
    return f"nullable {type_}" if nullable else type_
