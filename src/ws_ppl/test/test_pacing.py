"""How much synthetic data and which: invariants of schedule and selection."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_ppl.schedule import Schedule, ScheduleOptions
from ws_ppl.selection import Mix, Selection, SelectionOptions

ENTROPY = st.floats(-20, 20)
KINDS = st.sampled_from(("linear", "rational", "constant", "off"))
VALUE = st.floats(-1, 1)


def opened(kind, entropy, **options):
    schedule = Schedule(3, ScheduleOptions(kind=kind, **options))
    schedule.observe(entropy)
    schedule.gate(True, steps=10_000)
    return schedule


@given(KINDS, ENTROPY, st.floats(0, 0.95), st.integers(0, 10_000), st.integers(0, 100))
def test_rho_stays_between_zero_and_its_maximum(kind, entropy, rho_max, step, episodes):
    assert 0.0 <= opened(kind, entropy, rho_max=rho_max).rho(step, episodes) <= rho_max


@given(KINDS, ENTROPY, ENTROPY)
def test_rho_does_not_rise_with_entropy(kind, one, other):
    low, high = sorted((one, other))
    assert opened(kind, low).rho(1000, 10) >= opened(kind, high).rho(1000, 10)


@given(KINDS, ENTROPY)
def test_rho_is_zero_at_once_when_the_gate_closes(kind, entropy):
    schedule = opened(kind, entropy)
    schedule.gate(False)
    assert schedule.rho(1000, 10) == 0.0


def test_rho_ramps_up_after_the_gate_opens():
    schedule = opened("constant", 0.0, ramp_steps=4)
    schedule.gate(False)
    shares = []
    for _ in range(5):
        schedule.gate(True)
        shares.append(schedule.rho(1000, 10))
    assert shares == pytest.approx([0.075, 0.15, 0.225, 0.3, 0.3])


def test_a_sure_policy_gets_all_and_a_random_one_nothing():
    assert opened("linear", -3.0).rho(1000, 10) == pytest.approx(0.3)
    assert opened("linear", 3 * math.log(2)).rho(1000, 10) == pytest.approx(0.0)
    assert opened("rational", 3 * math.log(2)).rho(1000, 10) == pytest.approx(0.03)


@pytest.mark.parametrize(("step", "episodes"), [(499, 10), (1000, 4)])
def test_nothing_in_warm_up(step, episodes):
    assert opened("constant", 0.0).rho(step, episodes) == 0.0


@given(st.floats(-1, 2), st.floats(-1, 2))
def test_the_largest_share_grows_with_fidelity_from_the_papers(one, other):
    low, high = (opened("constant", 0.0, pace="fidelity") for _ in range(2))
    low.confidence, high.confidence = sorted((one, other))
    assert 0.30 <= low.rho_max <= high.rho_max <= 0.70
    assert high.rho(1000, 10) == pytest.approx(high.rho_max)
    high.gate(False)
    assert high.rho(1000, 10) == 0.0
    fixed = opened("constant", 0.0)
    fixed.confidence = one
    assert fixed.rho_max == 0.30


def test_an_entropy_that_is_no_number_is_refused():
    with pytest.raises(FloatingPointError, match="entropy = nan"):
        Schedule(3).observe(float("nan"))


@given(VALUE, VALUE, VALUE)
def test_shares_and_weights_are_legal(real, positive, negative):
    selection = Selection()
    selection.observe(real, positive, negative)
    mix = selection.mix(100, 100)
    assert 0.1 <= mix.positive <= 0.9 and 0.0 < mix.weight <= 1.0


def test_the_mix_has_the_value_of_real_data():
    selection = Selection()
    selection.observe(0.5, 0.8, 0.2)
    mix = selection.mix(100, 100)
    assert mix.positive == pytest.approx(0.5) and mix.weight == 1.0


def test_half_are_successes_as_far_as_the_tolerance_allows():
    selection = Selection()
    selection.observe(0.40, 0.45, 0.42)
    assert selection.mix(100, 100) == Mix(0.5, 1.0), "failures alone would have the value of real data too"
    selection.values = {"real": 0.2, "positive": 0.8, "negative": 0.2}
    mix = selection.mix(100, 100)
    assert mix.positive == pytest.approx(1 / 6) and mix.weight == pytest.approx(1.0)


def test_what_the_mix_cannot_balance_weighs_less():
    selection = Selection()
    selection.observe(0.1, 0.9, 0.5)
    mix = selection.mix(100, 100)
    assert mix.positive == pytest.approx(0.1)
    assert mix.weight == pytest.approx(0.1 / (0.1 * 0.9 + 0.9 * 0.5 - 0.1))


def test_one_kind_alone_is_all_there_is():
    selection = Selection()
    selection.observe(0.5, None, 0.4)
    assert selection.mix(0, 10).positive == 0.0
    assert selection.mix(10, 0).positive == 1.0


def test_without_selection_they_come_as_they_are():
    selection = Selection(SelectionOptions(kind="uniform"))
    selection.observe(0.5, 0.9, 0.1)
    assert selection.mix(30, 10).positive == pytest.approx(0.75)


def test_the_printed_sum_admits_what_keeps_to_it():
    selection = Selection(SelectionOptions(kind="paper_literal"))
    selection.observe(0.5, 0.4, 0.4)
    assert selection.admits(0.15, positive=True) and not selection.admits(0.9, positive=True)
