import json

import pytest

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.card import describe, installed_libraries, read_card


@pytest.fixture
def card(toys):
    return toys.draft().card


def test_a_card_reads_back_as_it_was_written(card):
    assert read_card(card.to_json(), "Model toy") == card
    assert card.golden.metrics == {"auroc": 0.1 + 0.2}


def test_equal_cards_give_equal_bytes_and_they_are_canonical(card):
    written = card.to_json()
    again = describe(**dict(reversed(card.model_dump().items())))
    assert again.to_json() == written
    assert (
        written == json.dumps(json.loads(written), sort_keys=True, separators=(",", ":")).encode()
    )


def test_a_card_names_the_file_of_its_model(card):
    assert card.model_file == "model.skops"
    assert card.model_copy(update={"model_format": "onnx"}).model_file == "model.onnx"


def test_the_libraries_that_trained_are_named():
    assert sorted(installed_libraries()) == ["numpy", "python", "scikit-learn", "skops"]


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 1},
        {"format_version": 3},
        {"surprise": 1},
        {"name": "../toy"},
        {"model_format": "pickle"},
        {"origin": "somewhere"},
        {"output_schema": []},
        {"files": {"model.pkl": {"sha256": "0" * 64, "bytes": 1}}},
        {"files": {"model.skops": {"sha256": "short", "bytes": 1}}},
        {"files": {"model.skops": {"sha256": "0" * 64, "bytes": -1}}},
    ],
    ids=str,
)
def test_a_card_of_another_format_is_refused(card, change):
    content = json.dumps({**json.loads(card.to_json()), **change}).encode()
    with pytest.raises(ModelRefused, match=r"^Model toy has no card of a known format") as refusal:
        read_card(content, "Model toy")
    assert refusal.value.reason is Refusal.UNREADABLE
    assert next(iter(change)) in str(refusal.value)


def test_a_card_says_where_its_model_comes_from(card):
    content = json.loads(card.to_json())
    del content["origin"]
    with pytest.raises(ModelRefused, match="origin: Field required"):
        read_card(json.dumps(content).encode(), "Model toy")


def test_a_card_of_a_file_claims_no_libraries(toys):
    assert toys.draft(origin="file", libraries={}).card.libraries == {}
    with pytest.raises(ModelRefused, match="a model that came as a file names no libraries"):
        toys.draft(origin="file", libraries={"numpy": "2.4.0"})


def test_a_card_has_no_place_for_what_a_clock_said(card):
    record = {"scorer": "trees 1", "rows": 1, "largest_difference": 0.0, "label_flips": 0}
    record |= {"bit_equal": True, "verdict": "passed", "reason": None, "rows_per_second": 1e7}
    content = json.dumps({**json.loads(card.to_json()), "parity": [record]}).encode()
    with pytest.raises(ModelRefused, match=r"rows_per_second: Extra inputs"):
        read_card(content, "Model toy")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(content):
    with pytest.raises(ModelRefused, match=r"^Model toy has no card of a known format"):
        read_card(content, "Model toy")


def test_a_strange_field_is_shown_on_one_line(card):
    content = json.dumps({**json.loads(card.to_json()), "a\nb\x1b[2K": 1}).encode()
    with pytest.raises(ModelRefused) as refusal:
        read_card(content, "Model toy")
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_is_never_described(toys, value):
    with pytest.raises(ModelRefused, match=r"Model toy cannot be described: metrics\.auroc") as it:
        toys.draft(metrics={"auroc": value})
    assert it.value.reason is Refusal.UNDESCRIBED


def test_a_name_that_leaves_the_folder_is_never_described(toys):
    with pytest.raises(ModelRefused, match="cannot be described: name") as refusal:
        toys.draft("../toy")
    assert refusal.value.reason is Refusal.UNDESCRIBED
