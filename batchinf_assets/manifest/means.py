"""What it was scored with: the model, the code, the settings."""

from __future__ import annotations

from pydantic import (
    Field,
)

from batchinf_assets.manifest.values import Count, Digest, Measure, Text, Value
from batchinf_assets.spec.contract import Name


class ParityOutcome(Value):
    """How the scorer compared with the reference when the model was registered.

    Attributes:
        rows: Rows that were compared.
        largest_difference: Between finite outputs; None where no row was compared.
        label_flips: Rows whose label differs; None for a regressor, or where none was compared.
    """

    rows: Count
    largest_difference: Measure | None
    label_flips: Count | None


class ModelRecord(Value):
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


class CodeRecord(Value):
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


class SettingsRecord(Value):
    """Scoring and post-processing settings that decide the output's bytes."""

    prediction_column: Name
    shard_rows: Count
    postprocess: str
