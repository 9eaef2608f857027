"""Which windows a promoted model scores again: once for each move of the alias."""

from __future__ import annotations

from batchinf_assets.publishing.backfill.rescoring import plan_rescoring

SCORED = {"2013-07-01": "old", "2013-07-02": "old", "2013-07-03": "new", "2013-07-04": "old"}


def never(_name: str) -> bool:
    return False


def test_windows_of_another_model_are_asked_for_the_newest_first() -> None:
    names, complete = plan_rescoring(7, "new", SCORED, never, limit=9)
    assert list(names.items()) == [
        ("2013-07-04", "rescore:2013-07-04:7"),
        ("2013-07-02", "rescore:2013-07-02:7"),
        ("2013-07-01", "rescore:2013-07-01:7"),
    ]
    assert complete


def test_what_exceeds_the_limit_comes_later_and_nothing_comes_twice() -> None:
    asked: set[str] = set()
    ticks: list[tuple[list[str], bool]] = []
    for _ in range(3):
        names, complete = plan_rescoring(7, "new", SCORED, asked.__contains__, limit=2)
        asked |= set(names.values())
        ticks.append((list(names), complete))
    assert ticks == [(["2013-07-04", "2013-07-02"], False), (["2013-07-01"], True), ([], True)]


def test_each_move_of_the_alias_asks_anew_also_back_to_an_earlier_model() -> None:
    first, _ = plan_rescoring(7, "new", SCORED, never, limit=9)
    back, _ = plan_rescoring(8, "old", SCORED, set(first.values()).__contains__, limit=9)
    assert list(back) == ["2013-07-03"]
    again, _ = plan_rescoring(9, "new", SCORED, set(first.values()).__contains__, limit=9)
    assert list(again) == list(first)


def test_where_all_is_scored_by_the_model_nothing_is_asked_for() -> None:
    assert plan_rescoring(7, "new", {"2013-07-03": "new"}, never, limit=9) == ({}, True)
    assert plan_rescoring(7, "new", {}, never, limit=9) == ({}, True)
