"""Model artifacts: immutable folders, verified byte by byte before anything in them is parsed.

Which artifact an alias names is in `registry.registry`; turning rows into scores is in `scoring`.
"""

from __future__ import annotations

import hashlib
import platform
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal
from zipfile import ZIP_DEFLATED, BadZipFile

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from batchinf_assets.errors import ModelRefused
from batchinf_assets.lake.digest import canonical_json
from batchinf_assets.lake.files import fsync
from batchinf_assets.registry.profile import Profile
from batchinf_assets.spec import ColumnType, FeatureSpec, Name

CARD_FILE = "model.json"
MODEL_FILE = "model.skops"
PROFILE_FILE = "profile.json"

LIBRARIES = ("numpy", "scikit-learn", "skops")

# Types beyond those that skops trusts by itself. Adding one is a review: can loading it, or
# predicting with it, run code or read memory that the file chooses?
TRUSTED_TYPES = (
    # HistGradientBoosting with categories converts its numbers by partial(check_array, ...). A
    # partial calls nothing on load, and only functions that are trusted here or by skops (ufuncs).
    "functools.partial",
    "sklearn.utils.validation.check_array",
    # Its node indices are not bounds-checked by scikit-learn, so a crafted file can crash the
    # process: acceptable only because no byte is parsed that the registered digest does not bind.
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputColumn(_Frozen):
    """One feature as the model learned it."""

    name: Name
    type: ColumnType
    nullable: bool


class Training(_Frozen):
    """What the model learned from; `end` is the day after the last training window."""

    start: date
    end: date
    rows: Count
    positives: Count


class FileDigest(_Frozen):
    """What binds a file of the artifact."""

    sha256: Digest
    bytes: Count


class ModelCard(_Frozen):
    """The contents of `model.json`.

    Attributes:
        name: The registered model's name.
        input_schema: The features in the order of their declaration.
        score_column: The declared prediction column.
        metrics: Measured on the training rows.
        feature_definition: Digest of the feature SQL and of what it reads.
        libraries: Versions that trained, by distribution; `python` among them.
        files: The other files of the artifact.
    """

    format_version: Literal[1] = 1
    name: Name
    input_schema: tuple[InputColumn, ...]
    score_column: Name
    training: Training
    metrics: dict[str, FiniteFloat]
    feature_definition: str
    libraries: dict[str, str]
    files: dict[Literal["model.skops", "profile.json"], FileDigest] = Field(min_length=2)

    def to_json(self) -> bytes:
        """Write canonical JSON: equal cards give equal bytes."""
        return canonical_json(self.model_dump(mode="json"))


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A verified artifact.

    Attributes:
        folder: `<root>/<name>/<first 16 digits of digest>`.
        digest: SHA-256 of `model.json`, which binds the other files.
        card: What `model.json` says.
        profile: How features and score were spread in training.
    """

    folder: Path
    digest: str
    card: ModelCard
    profile: Profile


def artifact_folder(root: Path, name: str, digest: str) -> Path:
    """Return where the artifact with this digest lies below `root`."""
    return root / name / digest[:16]


def write_artifact(
    root: Path,
    *,
    estimator: Any,
    name: str,
    columns: Mapping[str, FeatureSpec],
    score_column: str,
    training: Training,
    metrics: Mapping[str, float],
    feature_definition: str,
    profile: Profile,
) -> Artifact:
    """Write an artifact whole or not at all; the same bytes again are the same artifact.

    Args:
        root: Folder of all artifacts.
        estimator: Fitted scikit-learn estimator; it is written by skops.
        name: The registered model's name.
        columns: The declared features, in their order.
        score_column: The declared prediction column.
        training: What the estimator learned from.
        metrics: Measured on the training rows, finite.
        feature_definition: Digest of the feature SQL and of what it reads.
        profile: How features and score were spread in training.

    Raises:
        ModelRefused: A metric is not finite, the name is no model name, or an artifact with this
            digest exists and is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    import skops.io  # imported where used: it takes half a second

    contents = {
        MODEL_FILE: skops.io.dumps(estimator, compression=ZIP_DEFLATED),
        PROFILE_FILE: profile.to_json().encode(),
    }
    card = _described(
        name=name,
        input_schema=[
            {"name": column, "type": spec.type, "nullable": spec.nullable}
            for column, spec in columns.items()
        ],
        score_column=score_column,
        training=training,
        metrics=metrics,
        feature_definition=feature_definition,
        libraries=_libraries(),
        files={file: _digest_of(data) for file, data in contents.items()},
    ).to_json()
    digest = hashlib.sha256(card).hexdigest()
    folder = artifact_folder(root, name, digest)
    if not folder.exists():
        _place(folder, {**contents, CARD_FILE: card})
    return open_artifact(folder, digest=digest)


def open_artifact(folder: Path, *, digest: str) -> Artifact:
    """Verify every file of an artifact, and only then parse its card and profile.

    Args:
        folder: The artifact's folder.
        digest: SHA-256 that `model.json` must have, from the registry or a manifest.

    Raises:
        ModelRefused: A file is missing, added, a link, or not what the digest binds.
    """
    _require_plain_files(folder)
    card_bytes = (folder / CARD_FILE).read_bytes()
    if hashlib.sha256(card_bytes).hexdigest() != digest:
        raise _refused(folder / CARD_FILE, f"does not have the registered digest {digest[:16]}…")
    try:
        card = ModelCard.model_validate_json(card_bytes)
    except ValidationError as error:
        raise _refused(
            folder / CARD_FILE, f"is no model card of a known format: {_first_problem(error)}"
        ) from error
    contents = {file: _verified(folder / file, bound) for file, bound in card.files.items()}
    profile = Profile.from_json(contents[PROFILE_FILE])
    return Artifact(folder=folder, digest=digest, card=card, profile=profile)


def load_estimator(artifact: Artifact) -> Any:
    """Build the estimator out of the very bytes that were hashed; no pickle is ever read.

    Raises:
        ModelRefused: The file changed, holds a type that is not in TRUSTED_TYPES, or is not skops.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    path = artifact.folder / MODEL_FILE
    data = _verified(path, artifact.card.files[MODEL_FILE])
    try:
        return skops.io.loads(data, trusted=TRUSTED_TYPES)
    except UntrustedTypesFoundException as error:
        unknown = sorted({*skops.io.get_untrusted_types(data=data)} - {*TRUSTED_TYPES})
        raise ModelRefused(
            f"{path} holds types that were not reviewed: {', '.join(unknown)}.",
            next_step="Train without them, or review them and add them to TRUSTED_TYPES in "
            "batchinf_assets/registry/artifact.py.",
        ) from error
    except (BadZipFile, ValueError, TypeError, KeyError, ImportError, AttributeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise _refused(path, f"cannot be read by skops {version('skops')}: {reason}") from error


def require_schema(artifact: Artifact, columns: Mapping[str, FeatureSpec]) -> None:
    """Require that a pipeline declares exactly the features that the model learned.

    Raises:
        ModelRefused: Names each feature that is missing, extra, reordered or of another type.
    """
    learned = {c.name: _kind(c.type, c.nullable) for c in artifact.card.input_schema}
    declared = {name: _kind(c.type, c.nullable) for name, c in columns.items()}
    problems = list(_differences(learned, declared))
    if problems:
        raise ModelRefused(
            f"Model {artifact.card.name} ({artifact.digest[:16]}) does not fit the declared "
            f"features: {'; '.join(problems)}.",
            next_step="Correct features.columns in defs.yaml, or train on them: "
            "`batchinf model register <pipeline>`.",
        )


def _differences(learned: Mapping[str, str], declared: Mapping[str, str]) -> Iterator[str]:
    for name, kind in learned.items():
        if name not in declared:
            yield f"'{name}' is missing"
        elif declared[name] != kind:
            yield f"'{name}' is {declared[name]}, the model learned {kind}"
    for name in declared:
        if name not in learned:
            yield f"'{name}' is extra"
    if {*learned} == {*declared} and [*learned] != [*declared]:
        moved = [a for a, b in zip(learned, declared, strict=True) if a != b]
        yield f"{', '.join(repr(name) for name in moved)} are reordered"


def _kind(type_: ColumnType, nullable: bool) -> str:  # noqa: FBT001 - a column's two properties
    return f"nullable {type_}" if nullable else type_


def _described(**fields: Any) -> ModelCard:
    try:
        return ModelCard(**fields)
    except ValidationError as error:
        raise ModelRefused(
            f"Model {fields['name']} cannot be described: {_first_problem(error)}.",
            next_step="Correct the declaration or the training data, then register again.",
        ) from error


def _libraries() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def _digest_of(data: bytes) -> FileDigest:
    return FileDigest(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def _place(folder: Path, contents: Mapping[str, bytes]) -> None:
    home = folder.parent
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".") as staging:
        staged = Path(staging) / folder.name
        staged.mkdir()
        for file, data in contents.items():
            (staged / file).write_bytes(data)
            fsync(staged / file)
        fsync(staged)
        try:
            staged.rename(folder)
        except OSError:
            if not folder.exists():  # else another process placed the same artifact first
                raise
    fsync(home)
    fsync(home.parent)


def _require_plain_files(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        raise _refused(folder, "is no folder")
    expected = {CARD_FILE, MODEL_FILE, PROFILE_FILE}
    for path in sorted(folder.iterdir()):
        if path.name not in expected:
            raise _refused(path, "does not belong to the artifact")
        if path.is_symlink() or not path.is_file():
            raise _refused(path, "is no plain file")
    for name in sorted(expected):
        if not (folder / name).exists():
            raise _refused(folder / name, "is missing")


def _verified(path: Path, bound: FileDigest) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise _refused(path, "is missing or no plain file")
    if path.stat().st_size != bound.bytes:
        raise _refused(path, f"does not have the {bound.bytes} bytes that model.json lists")
    data = path.read_bytes()
    if _digest_of(data) != bound:
        raise _refused(path, "does not have the sha256 that model.json lists")
    return data


def _refused(path: Path, reason: str) -> ModelRefused:
    return ModelRefused(
        f"Model file {path} {reason}.",
        next_step="Restore the folder from a backup, or register a new model: "
        "`batchinf model register <pipeline>`.",
    )


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]
