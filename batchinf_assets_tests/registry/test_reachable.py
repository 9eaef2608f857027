"""Whatever holds an object, it is found; and no attribute stands in for a method."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from batchinf_assets.registry.reachable import hidden_method, reachable


class Wanted:
    """What is looked for."""

    def ask(self) -> str:
        return "the method"

    @property
    def size(self) -> int:
        return 1


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held


def attribute(held: Any) -> Any:
    holder = Wanted()
    holder.__dict__["held"] = held
    return holder


def array(held: Any) -> Any:
    made = np.empty((2, 1), dtype=object)
    made[1, 0] = held
    return made


def masked(held: Any) -> Any:
    return np.ma.MaskedArray(array(held), mask=True)


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "attribute": attribute,
    "slot": Slotted,
    "list": lambda held: [1, [held]],
    "tuple": lambda held: (1, (held,)),
    "set": lambda held: frozenset({held}),
    "value": lambda held: {"a": {"b": held}},
    "key": lambda held: {held: 1},
    "deque": lambda held: deque([held]),
    "default": lambda held: defaultdict(held.ask),
    "array": array,
    "masked array": masked,
    "argument": lambda held: partial(print, held),
    "keyword": lambda held: partial(print, end=held),
    "method": lambda held: held.ask,
    "estimator": lambda held: FunctionTransformer(kw_args={"a": [held]}),
}


@pytest.mark.parametrize("kind", HOLDERS)
def test_an_object_is_found_in_whatever_holds_it(kind: str) -> None:
    wanted = Wanted()
    found = [value for value in reachable(HOLDERS[kind](wanted), {}) if value is wanted]
    assert len(found) == 1


def test_each_object_comes_once_also_where_objects_hold_each_other() -> None:
    first: list[Any] = []
    second = {"first": first}
    first += [second, second, first]
    assert [type(value) for value in reachable(first, {})] == [list, dict]


def test_no_number_of_an_object_is_given_twice_while_it_is_walked() -> None:
    # Of a record numpy makes a tuple when it is asked, and frees it when nobody holds it.
    records = [np.array([(Wanted(),)], dtype=[("held", object)]) for _ in range(50)]
    assert sum(isinstance(found, Wanted) for found in reachable(records, {})) == 50


def test_a_closed_attribute_is_not_followed() -> None:
    closed, open_ = Wanted(), Wanted()
    holder = attribute(closed)
    holder.__dict__["other"] = open_
    found = [value for value in reachable(holder, {Wanted: "held"}) if type(value) is Wanted]
    assert found == [holder, open_]


def test_classes_functions_and_modules_are_where_it_ends() -> None:
    ends = [Wanted, np, np.add, len, test_a_closed_attribute_is_not_followed]
    assert list(reachable(ends, {})) == [ends]


def test_an_attribute_in_the_place_of_a_method_is_named() -> None:
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    assert hidden_method(model) is None
    model.__dict__["predict_proba"] = np.add
    assert hidden_method(model) == "predict_proba"


def test_a_property_cannot_be_hidden_and_is_not_named() -> None:
    wanted = Wanted()
    wanted.__dict__.update(size=2, colour="red")
    assert wanted.size == 1
    assert hidden_method(wanted) is None


@pytest.mark.parametrize("plain", [1, "text", None, [1], np.zeros(1), Slotted(1)])
def test_what_has_no_attributes_of_its_own_hides_nothing(plain: Any) -> None:
    assert hidden_method(plain) is None
