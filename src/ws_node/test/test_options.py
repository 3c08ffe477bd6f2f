import dataclasses
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_node.options import build, describe, option


@dataclass(frozen=True)
class Example:
    rate: float = option(10.0, "control rate", unit="Hz", low=1.0, high=50.0)
    count: int = option(3, "how many", low=1, high=9)
    gate: bool = option(False, "whether it is open")
    robot: str = option("twin", "which robot", choices=("twin", "a1x"))
    corner: tuple[float, ...] = option((0.0, 0.0, 0.0), "corner", unit="m", low=-1.0, high=1.0)


def test_defaults_hold_where_nothing_is_said():
    assert build(Example, {}) == Example()


def test_values_take_the_type_of_their_option():
    made = build(Example, {"rate": 20, "corner": [0, 1, 0.5]})
    assert made.rate == 20.0 and isinstance(made.rate, float)
    assert made.corner == (0.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 0.5}, r"rate = 0.5: must be in 1 .. 50 \(control rate\)"),
        ({"rate": float("nan")}, "rate = nan: must be in"),
        ({"rate": "fast"}, "rate = 'fast': must be float"),
        ({"rate": True}, "rate = True: must be float"),
        ({"count": 2.0}, "count = 2.0: must be int"),
        ({"count": True}, "count = True: must be int"),
        ({"gate": 1}, "gate = 1: must be bool"),
        ({"robot": "ur5"}, r"robot = 'ur5': must be one of twin, a1x \(which robot\)"),
        ({"corner": [0.0, 0.0]}, r"corner = \[0.0, 0.0\]: must be 3 numbers"),
        ({"corner": [0.0, 0.0, 2.0]}, r"corner = \[0.0, 0.0, 2.0\]: must be in -1 .. 1"),
        ({"corner": "abc"}, "corner = 'abc': must be 3 numbers"),
        ({"corner": 1.0}, "corner = 1.0: must be 3 numbers"),
        ({"corner": [0.0, 0.0, "x"]}, "corner = .*: must be 3 numbers"),
        ({"corner": [0.0, 0.0, True]}, "corner = .*: must be 3 numbers"),
        ({"speed": 1.0}, "unknown option 'speed'; known are corner, count, gate, rate, robot"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values, message):
    with pytest.raises(ValueError, match=message):
        build(Example, values)


def test_a_prefix_stands_before_the_name():
    with pytest.raises(ValueError, match=r"^camera\.rate = 0.5: must be in 1 .. 50"):
        build(Example, {"rate": 0.5}, "camera.")


@given(st.floats(allow_nan=True) | st.integers() | st.text() | st.booleans() | st.none())
def test_whatever_is_given_the_range_holds(value):
    try:
        rate = build(Example, {"rate": value}).rate
    except ValueError:
        return
    assert 1.0 <= rate <= 50.0


def test_the_description_tells_unit_and_range():
    texts = [describe(field) for field in dataclasses.fields(Example)]
    assert texts == [
        "control rate [Hz]; in 1 .. 50",
        "how many; in 1 .. 9",
        "whether it is open",
        "which robot; one of twin, a1x",
        "corner [m]; in -1 .. 1",
    ]
