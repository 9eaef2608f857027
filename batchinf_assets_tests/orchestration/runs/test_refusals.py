"""Which refusals stand: those that nothing of their window came after, at the same asset."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from batchinf_assets.orchestration.keys import asset_key
from batchinf_assets.orchestration.metadata.names import REFUSED, SECONDS
from batchinf_assets.orchestration.runs import refusals
from batchinf_assets.orchestration.runs.refusals import standing_refusals
from batchinf_assets.spec.load import load_pipeline

SPEC = load_pipeline("flight_delays").spec
DAY, NEXT = "2013-07-01", "2013-07-02"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def refuse(instance: dg.DagsterInstance, asset: str, window: str, reason: str) -> None:
    observe(instance, asset, window, {REFUSED: reason})


def finish(instance: dg.DagsterInstance, asset: str, window: str) -> None:
    key = asset_key(SPEC.name, asset)
    instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=window))


def observe(
    instance: dg.DagsterInstance, asset: str, window: str, metadata: dict[str, str | float]
) -> None:
    key = asset_key(SPEC.name, asset)
    event = dg.AssetObservation(key, partition=window, metadata=metadata)
    instance.report_runless_asset_event(event)


def test_a_refusal_stands_until_its_window_comes_through_the_same_asset(
    instance: dg.DagsterInstance,
) -> None:
    refuse(instance, "snapshot", DAY, "It is cut off.")
    refuse(instance, "snapshot", NEXT, "It has no rows.")
    finish(instance, "features", DAY)  # of what was frozen before
    finish(instance, "snapshot", NEXT)
    assert standing_refusals(instance, SPEC) == {DAY: "It is cut off."}
    finish(instance, "snapshot", DAY)
    assert standing_refusals(instance, SPEC) == {}
    refuse(instance, "snapshot", DAY, "It is cut off again.")
    assert standing_refusals(instance, SPEC) == {DAY: "It is cut off again."}


def test_the_latest_refusal_of_the_first_asset_is_the_reason(
    instance: dg.DagsterInstance,
) -> None:
    refuse(instance, "snapshot", DAY, "It is cut off.")
    refuse(instance, "published", DAY, "The gate is shut.")
    refuse(instance, "snapshot", DAY, "It is gone.")
    assert standing_refusals(instance, SPEC) == {DAY: "It is gone."}


def test_what_is_observed_besides_hides_no_refusal(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "AT_ONCE", 2)
    refuse(instance, "published", DAY, "The gate is shut.")
    observe(instance, "published", DAY, {"state": "nothing_to_go_back_to"})
    for window in SPEC.window.between("2013-07-03", "2013-07-07"):
        refuse(instance, "published", window.key, "The gate is shut.")
    assert len(standing_refusals(instance, SPEC)) == 6
    assert standing_refusals(instance, SPEC)[DAY] == "The gate is shut."


def test_an_attempt_that_found_nothing_to_make_ends_a_refusal(
    instance: dg.DagsterInstance,
) -> None:
    refuse(instance, "performance", DAY, "The outcomes are cut off.")
    observe(instance, "performance", DAY, {SECONDS: 0.1, "state": "no outcomes yet"})
    assert standing_refusals(instance, SPEC) == {}


def test_refusals_of_another_pipeline_are_its_own(instance: dg.DagsterInstance) -> None:
    key = asset_key("departure_delays", "snapshot")
    other = dg.AssetObservation(key, partition=DAY, metadata={REFUSED: "It is cut off."})
    instance.report_runless_asset_event(other)
    assert standing_refusals(instance, SPEC) == {}
