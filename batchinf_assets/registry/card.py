"""The model card: what an artifact's `model.json` says.

The format in prose is `docs/formats/model.md`.
"""

from __future__ import annotations

import platform
from datetime import date
from importlib.metadata import version
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.lake.digest import canonical_json
from batchinf_assets.registry.untrusted_text import one_line
from batchinf_assets.spec.contract import ColumnType, Name
from batchinf_assets.spec.prediction import MOST_CLASSES, Meaning

LIBRARIES = ("numpy", "scikit-learn", "skops")

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Measure = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ScorerFile = Literal["recipe.json", "trees.parquet", "linear.json"]
FileName = Literal["model.skops", "model.onnx", "profile.json"] | ScorerFile
SignedFile = FileName | Literal["model.json"]
Origin = Literal["trained here", "file"]
TRAINED_HERE: Origin = "trained here"
FROM_FILE: Origin = "file"


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputColumn(_Frozen):
    """One feature as the model learned it."""

    name: Name
    type: ColumnType
    nullable: bool


class OutputColumn(_Frozen):
    """What the model says of a row."""

    name: Name
    type: Literal["float64"] = "float64"
    meaning: Meaning = "probability of the label"


class Training(_Frozen):
    """What the model learned from; `end` is the day after the last training window.

    Of a model that came as a file: the windows of its reference profile. A regression has no
    positives.
    """

    start: date
    end: date
    rows: Count
    positives: Count | None = None


class GoldenRecord(_Frozen):
    """How the model did on the golden set when it was registered.

    Attributes:
        sha256: The golden file.
        rows: Its rows.
        positives: Rows whose label is true; None of a regression.
        decision: The score that counted as positive; None of a regression.
        metrics: By name; an undefined one is None.
    """

    sha256: Digest
    rows: Count
    positives: Count | None = None
    decision: FiniteFloat | None = None
    metrics: dict[str, FiniteFloat | None]


class ParityRecord(_Frozen):
    """What comparing one scorer with the reference found.

    Attributes:
        scorer: The scorer's name.
        rows: Rows that both answered and that were compared.
        largest_difference: Between finite outputs; of values relative to max(1, |value|). None
            where no row was compared.
        label_flips: Rows whose label differs; None for a regressor, or where none was compared.
        bit_equal: Whether all outputs were the same bits.
        verdict: Whether the scorer may be used.
        reason: Why not; None where it passed.
    """

    scorer: str
    rows: Count
    largest_difference: Measure | None
    label_flips: Count | None
    bit_equal: bool
    verdict: Literal["passed", "refused"]
    reason: str | None

    @model_validator(mode="after")
    def _only_refusals_have_a_reason(self) -> ParityRecord:
        if (self.reason is None) != (self.verdict == "passed"):
            raise ValueError("a refused scorer has a reason, a passed one has none")
        return self


class FileDigest(_Frozen):
    """What binds a file of the artifact."""

    sha256: Digest
    bytes: Count


class ModelCard(_Frozen):
    """The contents of `model.json`.

    Attributes:
        name: The registered model's name.
        model_format: How the model itself is stored.
        origin: Whether the pipeline's own `train` made it here, or it came as a file.
        input_schema: The features in the order of their declaration.
        output_schema: What the model says of a row.
        training: What it learned from; for a file, what its reference profile was made of.
        metrics: Measured on these rows.
        golden: Measured on the golden set at registration.
        feature_definition: Digest of the feature SQL and of what it reads.
        libraries: Versions that trained, by distribution; `python` among them. Empty for a file:
            they are not known.
        scorer: The scorer that scores with it.
        parity: Every scorer that was tried, with the reason where it was refused.
        files: The other files of the artifact, without statement and signature.
    """

    format_version: Literal[2] = 2
    name: Name
    model_format: Literal["skops", "onnx"]
    origin: Origin
    input_schema: tuple[InputColumn, ...]
    output_schema: tuple[OutputColumn, ...] = Field(min_length=1, max_length=MOST_CLASSES)
    training: Training
    metrics: dict[str, FiniteFloat]
    golden: GoldenRecord
    feature_definition: str
    libraries: dict[str, str]
    scorer: str
    parity: tuple[ParityRecord, ...]
    files: dict[FileName, FileDigest] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _what_trained_a_file_is_not_known(self) -> ModelCard:
        if self.origin == FROM_FILE and self.libraries:
            raise ValueError("a model that came as a file names no libraries")
        return self

    @property
    def model_file(self) -> FileName:
        """The file that holds the model itself."""
        return "model.onnx" if self.model_format == "onnx" else "model.skops"

    def to_json(self) -> bytes:
        """Write canonical JSON: equal cards give equal bytes."""
        return canonical_json(self.model_dump(mode="json"))


def read_card(content: bytes, what: str) -> ModelCard:
    """Read a card of a known format.

    Format 1 was written before models were signed; nothing can vouch for one of those any more.

    Raises:
        ModelRefused: The bytes are no card, or of another format.
    """
    try:
        return ModelCard.model_validate_json(content)
    except ValidationError as error:
        raise ModelRefused(
            f"{what} has no card of a known format: {first_problem(error)}.",
            reason=Refusal.UNREADABLE,
            next_step="Use the batchinf that wrote it, or register the model again: "
            "`batchinf model register`.",
        ) from error


def describe(**fields: Any) -> ModelCard:
    """Make a card.

    Raises:
        ModelRefused: A metric is not finite, or the name is no model name.
    """
    try:
        return ModelCard(**fields)
    except ValidationError as error:
        raise ModelRefused(
            f"Model {fields['name']} cannot be described: {first_problem(error)}.",
            reason=Refusal.UNDESCRIBED,
            next_step="Correct the declaration or the training data, then register again.",
        ) from error


def installed_libraries() -> dict[str, str]:
    """Return the versions that train here, by distribution; `python` among them."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def first_problem(error: ValidationError) -> str:
    """Say what a document that does not fit its format breaks first."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    return one_line(f"{where}: {problem['msg']}" if where else problem["msg"])
