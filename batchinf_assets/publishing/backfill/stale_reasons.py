"""Why what is published is not what a run would make now: a manifest held against the present.

Pure comparisons; `stale` gathers what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.inputs import FeaturesRecord
from batchinf_assets.manifest.means import CodeRecord, SettingsRecord
from batchinf_assets.spec.pipeline import PipelineSpec

DIGITS = 8
"""Of a digest, for people."""


class Reason(StrEnum):
    """Why a window is stale: stable words, in the order in which they are told."""

    HELD = "held"
    CONDEMNED = "condemned"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    DATA = "data"
    CONTRACT = "contract"
    FEATURES = "features"
    REFERENCES = "references"
    LOOK_BACK = "look_back"
    MODEL = "model"
    SETTINGS = "settings"
    CODE = "code"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Stale:
    """One reason.

    Attributes:
        reason: The word.
        detail: What differs, in one clause.
    """

    reason: Reason
    detail: str


@dataclass(frozen=True, kw_only=True)
class ModelNow:
    """The model that an alias names: its version and the digest of its artifact."""

    version: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Present:
    """What a run would score with now.

    Attributes:
        contracts: Digests of the contracts of the source and of the features.
        definition: Digest of the feature definition.
        model: The champion; None where none may score, and then no window is stale for its model.
        settings: Scoring and post-processing settings.
        code: The running code.
    """

    contracts: tuple[str, str]
    definition: str
    model: ModelNow | None
    settings: SettingsRecord
    code: CodeRecord


def declared_differences(made: Manifest, now: Present) -> Iterator[Stale]:
    """Compare everything but the landed files."""
    for then, contract in zip(_contracts(made), now.contracts, strict=True):
        if then is None:
            yield Stale(reason=Reason.CONTRACT, detail="made before contracts were recorded")
        elif then != contract:
            yield _changed(Reason.CONTRACT, "contract", then, contract)
    if made.features.definition != now.definition:
        yield _changed(Reason.FEATURES, "definition", made.features.definition, now.definition)
    if now.model is not None and made.model.digest != now.model.digest:
        yield Stale(
            reason=Reason.MODEL,
            detail=f"scored by v{made.model.version}, {made.model.alias} is v{now.model.version}",
        )
    if made.settings != now.settings:
        names = _differing(made.settings.model_dump(), now.settings.model_dump())
        yield Stale(reason=Reason.SETTINGS, detail=f"{' and '.join(names)} changed")
    yield from _code_differences(made.code, now.code)


def file_differences(
    spec: PipelineSpec, made: FeaturesRecord, sha256: Callable[[str], str | None]
) -> Iterator[Stale]:
    """Compare the files that features were made from, beside the snapshot, with what landed since.

    A file that is gone makes no window stale: there is nothing to make it anew from. One that is
    there and cannot be read may hold anything, so that is told.

    Args:
        spec: The pipeline; tells references from outcomes.
        made: The features.
        sha256: Returns the digest of a landed file, None where there is none; raises OSError.
    """
    declared = {reference.file for reference in spec.references.values()}
    used: dict[str, str | None] = {file.path: file.sha256 for file in made.references}
    for path, then in (used | dict.fromkeys(made.absent)).items():
        try:
            now = sha256(path)
        except OSError as error:
            yield cannot_be_read(path, error)
            continue
        if now not in (then, None):
            reason = Reason.REFERENCES if path in declared else Reason.LOOK_BACK
            yield Stale(reason=reason, detail=f"{path} {'changed' if then else 'landed since'}")


def cannot_be_read(path: str, error: OSError) -> Stale:
    """Tell of a landed file, by its path below the landing folder, that no digest is known of."""
    why = error.strerror or type(error).__name__
    return Stale(reason=Reason.UNREADABLE, detail=f"{path} cannot be read ({why})")


def _contracts(made: Manifest) -> tuple[str | None, str | None]:
    return made.snapshot.contract, made.features.contract


def _code_differences(made: CodeRecord, now: CodeRecord) -> Iterator[Stale]:
    if made.source != now.source:
        yield _changed(Reason.CODE, "code", made.source, now.source)
    if (made.python, made.libraries) != (now.python, now.libraries):
        then = {"python": made.python, **made.libraries}
        today = {"python": now.python, **now.libraries}
        names = _differing(then, today)
        yield Stale(reason=Reason.CODE, detail=f"other versions of {', '.join(names)}")


def _differing(then: Mapping[str, object], now: Mapping[str, object]) -> Sequence[str]:
    return sorted(name for name in {*then, *now} if then.get(name) != now.get(name))


def _changed(reason: Reason, what: str, then: str, now: str) -> Stale:
    return Stale(reason=reason, detail=f"{what} {then[:DIGITS]} is {now[:DIGITS]} now")
