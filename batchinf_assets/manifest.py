"""The manifest: the document that names everything that decided a revision of a window.

Pure values and their JSON; `lake.manifests` keeps them, `publishing.signed` signs them,
`publishing.verify` holds files to them. The format in prose is `docs/formats/manifest.md`.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from batchinf_assets.checks import CheckResult
from batchinf_assets.contract_spec import Name
from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.spec import PipelineSpec

LONGEST_TEXT = 1000
_ROOTED = re.compile(r"[/\\~]|[A-Za-z]:[/\\]")


def _portable(text: str) -> str:
    """Refuse what belongs to one machine or may carry a credential."""
    if _ROOTED.match(text) or "://" in text:
        raise ValueError("must be neither an absolute path nor a URL")
    if not text.isprintable() or len(text) > LONGEST_TEXT:
        raise ValueError(f"must be one printable line of at most {LONGEST_TEXT} characters")
    return text


def _relative(path: str) -> str:
    if not path or ".." in PurePosixPath(path.replace("\\", "/")).parts:
        raise ValueError("must be a relative path without '..'")
    return _portable(path)


def _relative_file(file: FileRecord) -> FileRecord:
    _relative(file.path)
    return file


Text = Annotated[str, AfterValidator(_portable)]
RelativePath = Annotated[str, AfterValidator(_relative)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RevisionId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Measure = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(_Value):
    """A file by name and content; `path` counts from the landing folder or the checkout."""

    path: str
    sha256: Digest
    bytes: Count


class QuarantineRecord(FileRecord):
    """The file that says which rows were set aside and why.

    Attributes:
        path: From the quarantine table's folder.
        lines: One per row and broken rule.
    """

    path: RelativePath
    lines: Annotated[int, Field(gt=0, lt=2**63)]


class OutputRecord(FileRecord):
    """A published file; `path` counts from the predictions table's folder."""

    path: RelativePath
    rows: Count


RelativeFile = Annotated[FileRecord, AfterValidator(_relative_file)]


class WindowRecord(_Value):
    """The window that was scored: its key, first instant and first instant after."""

    key: str = Field(pattern=r"^[0-9][0-9:-]{0,30}$")
    start: AwareDatetime
    end: AwareDatetime


class ApprovalRecord(_Value):
    """Who let corrected data in that landed late, why and when."""

    by: Text
    reason: Text
    at: AwareDatetime


class SnapshotRecord(_Value):
    """The frozen source rows.

    Attributes:
        table: The Delta table's folder within the pipeline's.
        version: The Delta version that gave the window these rows; None where it is not known.
        digest: Of the rows, whatever their file looks like.
        rows: Their count.
        source: The landed file.
        landed: Rows of that file, `rows` + `quarantined`; None where it is not known.
        quarantined: Rows that were set aside before the others were frozen.
        rejected: Digest of what was said of them; None where there are none.
        contract: Digest of the declared rules that they were judged by; None where not known.
        required: Declared columns that the landed file calls required; None where its format cannot
            say, and where it is not known.
        approval: Who let it in, where it landed late; None where nobody was asked.
    """

    table: RelativePath = "snapshot"
    version: Count | None = None
    digest: Digest
    rows: Count
    source: RelativeFile
    landed: Count | None = None
    quarantined: Count = 0
    rejected: Digest | None = None
    contract: Digest | None = None
    required: tuple[Name, ...] | None = None
    approval: ApprovalRecord | None = None

    @property
    def rows_in(self) -> int:
        """Rows that landed."""
        return self.rows + self.quarantined

    @property
    def content(self) -> tuple[str | None, ...]:
        """What decides a revision: the rows, the contract, and what was set aside by it."""
        return self.digest, self.contract, self.rejected

    @model_validator(mode="after")
    def _every_row_is_accounted_for(self) -> SnapshotRecord:
        if self.landed not in (None, self.rows_in):
            raise ValueError("landed rows are those frozen and those quarantined")
        _require_reasons(self.quarantined, self.rejected)
        return self


class FeaturesRecord(_Value):
    """The model's input and what it was made from.

    Attributes:
        digest: Of the rows, whatever their file looks like.
        rows: Their count.
        definition: Digest of the feature SQL and what was declared beside it.
        contract: Digest of the declared rules that they were judged by; None where not known.
        quarantined: Rows that were set aside because of their features.
        rejected: Digest of what was said of them; None where there are none.
        row_group_rows: Rows per row group of the features file; None where it is not known.
        references: Landed files that were read beside the snapshot.
        absent: Outcome files that had not landed, and would have been read.
    """

    digest: Digest
    rows: Count
    definition: Digest
    row_group_rows: Count | None = None
    references: tuple[RelativeFile, ...]
    absent: tuple[RelativePath, ...]
    contract: Digest | None = None
    quarantined: Count = 0
    rejected: Digest | None = None

    @property
    def content(self) -> tuple[str | None, ...]:
        """What decides a revision: the rows, the contract, and what was set aside by it."""
        return self.digest, self.contract, self.rejected

    @model_validator(mode="after")
    def _every_row_has_a_reason(self) -> FeaturesRecord:
        _require_reasons(self.quarantined, self.rejected)
        return self


def _require_reasons(quarantined: int, rejected: str | None) -> None:
    if bool(quarantined) != (rejected is not None):
        raise ValueError("quarantined rows and the digest of their reasons go together")


class ParityOutcome(_Value):
    """How the scorer compared with the reference when the model was registered.

    Attributes:
        rows: Rows that were compared.
        largest_difference: Between finite outputs; None where no row was compared.
        label_flips: Rows whose label differs; None for a regressor, or where none was compared.
    """

    rows: Count
    largest_difference: Measure | None
    label_flips: Count | None


class ModelRecord(_Value):
    """The model that scored.

    Attributes:
        name: The registered model's name.
        version: Its version in the registry.
        alias: The alias that named it.
        digest: Of the artifact.
        scorer: What computed the scores.
        key_id: Who signed the artifact; None where nobody did.
        promotion: Number of the signed record that made it the alias's; None where there is none.
        parity: Of the scorer, from the artifact's card; None where it is not known.
    """

    name: Name  # name and digest become paths
    version: Text
    alias: Name
    digest: Digest
    scorer: Text
    key_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    promotion: Count | None = None
    parity: ParityOutcome | None = None


class CodeRecord(_Value):
    """The code and the libraries that scored; `source`, `python` and `libraries` decide revisions.

    Attributes:
        version: Of this package.
        source: Digest of the modules that decide what rows come out.
        commit: The checkout's commit; None outside a checkout.
        lock: SHA-256 of `requirements.lock`; None where there is none.
        python: Python's version.
        platform: Operating system, processor and C library; None where it is not known.
        libraries: Versions by distribution.
    """

    version: Text
    source: str
    commit: str | None = Field(default=None, pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")
    lock: Digest | None = None
    python: Text
    platform: Text | None = None
    libraries: dict[Text, Text]


class SettingsRecord(_Value):
    """Scoring and post-processing settings that decide the output's bytes."""

    prediction_column: Name
    shard_rows: Count
    postprocess: str


class CountsRecord(_Value):
    """Row conservation: rows in = scored + quarantined."""

    rows_in: Count
    scored: Count
    quarantined: Count


class ShardsRecord(_Value):
    """How the revision's shards came to be: planned = computed + reused."""

    planned: Count
    computed: Count
    reused: Count

    @model_validator(mode="after")
    def _adds_up(self) -> ShardsRecord:
        if self.planned != self.computed + self.reused:
            raise ValueError("planned shards are those computed and those reused")
        return self


class ChangesRecord(_Value):
    """What a revision corrects; row counts are None where they are not known.

    Attributes:
        supersedes: The revision that readers saw while this one was scored; None where there was
            none.
        carried_from: The revision whose scores were kept for rows with unchanged features; None
            where every row was scored.
        reason: Why every row was scored, although a revision was superseded.
        rows_added: Snapshot rows whose key is new.
        rows_changed: Snapshot rows with other values.
        rows_removed: Snapshot rows that are gone.
        carried: Rows that kept their score.
        scored_again: Rows that were scored, those added among them; 0 where nothing is superseded.
    """

    supersedes: RevisionId | None = None
    carried_from: RevisionId | None = None
    reason: Text | None = None
    rows_added: Count | None = None
    rows_changed: Count | None = None
    rows_removed: Count | None = None
    carried: Count = 0
    scored_again: Count = 0


class ResourcesRecord(_Value):
    """What scoring used; None where the machine does not tell.

    Attributes:
        cpu_seconds: User and system time of all threads and worker processes.
        io_read_bytes: Read from storage.
        io_write_bytes: Written to storage.
        peak_memory_bytes: Largest resident size of the process.
        workers: How many shards were worked on at once.
    """

    cpu_seconds: Measure | None = None
    io_read_bytes: Count | None = None
    io_write_bytes: Count | None = None
    peak_memory_bytes: Count | None = None
    workers: Count | None = None


class GoldenSetRecord(_Value):
    """The golden set that a revision was measured on.

    Attributes:
        sha256: Of its file.
        version: As its provenance says; None where there is none.
        drawn_at: When it was drawn; None where nobody knows.
    """

    sha256: Digest
    version: Text | None = None
    drawn_at: AwareDatetime | None = None


class EarlierWindowsRecord(_Value):
    """How many earlier windows a drift reference was asked for, and what became of them.

    Attributes:
        counted: Those whose rows make the reference.
        candidates: Those of them that were scored and evaluated, and of which nothing was
            published yet.
        other_profile: Left out, because their bins are those of another model's profile.
        held_back: Left out, because a check keeps their only revision from being published.
        absent: Left out, because nothing is published or scored, or nothing was sketched.
    """

    counted: Count = 0
    candidates: Count = 0
    other_profile: Count = 0
    held_back: Count = 0
    absent: Count = 0


class EvaluationRecord(_Value):
    """What evaluation measured on this revision.

    Attributes:
        golden: Golden metrics by name, with `rows` and `positives`; None is undefined.
        golden_intervals: Their 95 % intervals, lower end first; None where there is none.
        golden_set: What they were measured on; None where it is not known.
        golden_set_end: Where the last window ended that the golden set was drawn from; None where
            nobody knows.
        psi: Population stability index against training by feature, and of the score.
        drift: Verdict against training by feature, and of the score.
        drift_verdict: The worst against any reference.
        drift_by_reference: Verdicts by feature, and of the score, against each reference.
        drift_windows: How many windows of each reference told how far windows usually differ; 0
            where that is not known and rows were taken as independent.
        earlier_windows: What the references consist of that are not the training rows.
        estimated: Metrics expected before any outcome is known; None is undefined.
    """

    golden: dict[str, float | int | None]
    golden_intervals: dict[str, tuple[float, float] | None] = Field(
        default_factory=dict[str, tuple[float, float] | None]
    )
    golden_set: GoldenSetRecord | None = None
    golden_set_end: AwareDatetime | None = None
    psi: dict[str, float | None]
    drift: dict[str, Text] = Field(default_factory=dict[str, Text])
    drift_verdict: str
    drift_by_reference: dict[Name, dict[str, Text]] = Field(
        default_factory=dict[str, dict[str, str]]
    )
    drift_windows: dict[Name, Count] = Field(default_factory=dict[str, int])
    earlier_windows: dict[Name, EarlierWindowsRecord] = Field(
        default_factory=dict[str, EarlierWindowsRecord]
    )
    estimated: dict[str, float | None] = Field(default_factory=dict[str, float | None])


class OverrideRecord(_Value):
    """A failed verdict that somebody let pass, for this revision only.

    Attributes:
        check: The check of the evaluation.
        by: Who.
        reason: Why.
        at: When.
    """

    check: Name
    by: Text
    reason: Text
    at: AwareDatetime


class Manifest(_Value):
    """Everything that decided one revision of one window, and what came out.

    A draft has no evaluation and no `published_at` yet. Documents are immutable once published.
    Of what does not decide the output, None says that it is not known.

    Attributes:
        format_version: Of this document.
        pipeline: The pipeline.
        owner: Who answers for it.
        declaration: Digest of the whole declaration, see `declaration_digest`.
        window: What was scored.
        revision: Its id, a digest of what decides the output.
        snapshot: The frozen source rows.
        features: The model's input.
        model: The model.
        code: The code, the libraries and the machine.
        settings: Scoring and post-processing settings.
        counts: Row conservation.
        quarantine: Which rows were set aside and why; None where there are none.
        outputs: The files, in key order.
        checks: What was checked, by asset, with figures and up to five keys of broken rows.
        shards: How many were computed and how many taken over from an earlier attempt.
        changes: What the revision corrects; None where it is not known.
        timings: Seconds per stage.
        resources: What scoring used.
        evaluation: Golden quality and drift.
        overrides: Failed verdicts that somebody let pass.
        run_id: The run that scored.
        attempt: The number of the attempt that scored, from 1.
        trace_id: Of the trace that scored (W3C Trace Context, 32 hex digits).
        scored_at: When scoring began.
        published_at: When the document was signed; None in a draft.
    """

    format_version: Literal[2] = 2
    pipeline: Name
    owner: Text
    declaration: Digest | None = None
    window: WindowRecord
    revision: str = Field(pattern=r"^[0-9a-f]{16}$")
    snapshot: SnapshotRecord
    features: FeaturesRecord
    model: ModelRecord
    code: CodeRecord
    settings: SettingsRecord
    counts: CountsRecord
    quarantine: QuarantineRecord | None = None
    outputs: tuple[OutputRecord, ...]
    checks: tuple[CheckResult, ...]
    shards: ShardsRecord | None = None
    changes: ChangesRecord | None = None
    timings: dict[Name, Measure] = Field(default_factory=dict[Name, Measure])
    resources: ResourcesRecord | None = None
    evaluation: EvaluationRecord | None = None
    overrides: tuple[OverrideRecord, ...] = ()
    run_id: Text
    attempt: int | None = Field(default=None, ge=1)
    trace_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    scored_at: AwareDatetime
    published_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _outputs_differ(self) -> Manifest:
        paths = [output.path for output in self.outputs]
        if len(set(paths)) != len(paths):
            raise ValueError("an output file is named twice")
        return self

    def to_json(self) -> bytes:
        """Write the document; equal manifests give equal bytes."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def declaration_digest(spec: PipelineSpec) -> str:
    """Return the SHA-256 of everything that `defs.yaml` declares, as 64 hex digits.

    Digested is JSON with sorted keys and no spaces, defaults written out.
    """
    document = spec.model_dump(mode="json")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def parse_manifest(content: bytes, name: str) -> Manifest:
    """Read a manifest.

    Args:
        content: The document.
        name: What to call it in an error.

    Raises:
        ManifestInvalid: The bytes are no manifest of a format that this version knows.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ManifestInvalid(
            f"{name} is no manifest: {'.'.join(map(str, problem['loc']))} {problem['msg']}.",
            next_step="Restore the file from a backup, or run the window again.",
        ) from error
