"""The manifest: the document that names everything that decided a revision of a window.

Pure values and their JSON; `lake.manifests` keeps them, `publishing.signed` signs them,
`proof.verify` holds files to them. The format in prose is `docs/formats/manifest.md`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import (
    AwareDatetime,
    Field,
    ValidationError,
    model_validator,
)

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.manifest.files import OutputRecord, QuarantineRecord
from batchinf_assets.manifest.inputs import FeaturesRecord, SnapshotRecord, WindowRecord
from batchinf_assets.manifest.judgement import EvaluationRecord, OverrideRecord
from batchinf_assets.manifest.means import CodeRecord, ModelRecord, SettingsRecord
from batchinf_assets.manifest.values import Digest, Measure, Text, Value
from batchinf_assets.manifest.work import ChangesRecord, CountsRecord, ResourcesRecord, ShardsRecord
from batchinf_assets.spec.contract import Name
from batchinf_assets.spec.pipeline import PipelineSpec


class Manifest(Value):
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
