"""The gate: what is let through, and that it says why."""

import math

from hypothesis import given
from hypothesis import strategies as st

from ws_world_model.gate import Gate, GateOptions, Quality

DB = st.floats(0.0, 60.0)
ANY = st.one_of(st.none(), st.floats(), DB)
AUC = st.one_of(st.none(), st.floats(0.0, 1.0), st.just(math.nan))


def test_a_version_may_lose_no_more_than_the_tolerance():
    gate = Gate()
    assert gate.publish(29.75, 30.0).allowed
    assert not gate.publish(29.65, 30.0).allowed
    assert gate.publish(12.0, None).allowed, "there is nothing to be worse than"
    assert "29.65 dB is below 29.70 dB" in gate.publish(29.65, 30.0).reason


def test_generation_needs_frames_and_rewards_that_are_good_enough():
    gate = Gate()
    good = Quality(psnr=24.0, persistence_psnr=20.0, reward_auc=0.97, recall=0.5)
    assert gate.generate(good).state == "open" and "4.0 dB over persistence" in gate.generate(good).reason
    for quality, why in (
        (Quality(22.9, 20.0, 0.97, 0.5), "must be above 23.00 dB"),
        (Quality(24.0, 20.0, 0.94, 0.5), "AUC 0.940, must be 0.95"),
        (Quality(24.0, 20.0, None, 0.5), "AUC is not known"),
        (Quality(None, 20.0, 0.97, 0.5), "PSNR is not known"),
        (Quality(24.0, 20.0, 0.97, None), "too few successes were replayed"),
        (Quality(24.0, 20.0, 0.97, 0.25), "25% of replayed successes recognised, must be 30%"),
        (Quality(24.0, 20.0, 0.97, 0.5, rewards_ready=False), "not learned from enough"),
        (Quality(24.0, 20.0, 0.97, 0.5, rewards_stopped=True), "calls too many failures successes"),
    ):
        assert gate.generate(quality).state == "closed" and why in gate.generate(quality).reason


@given(ANY, ANY, DB)
def test_what_is_published_is_finite_and_not_worse_by_more_than_the_tolerance(candidate, current, tolerance):
    verdict = Gate(GateOptions(tolerance=tolerance)).publish(candidate, current)
    assert verdict.reason
    if verdict.allowed:
        assert candidate is not None and math.isfinite(candidate)
        assert current is None or not math.isfinite(current) or candidate >= current - tolerance


@given(ANY, ANY, AUC, AUC, st.booleans(), st.booleans(), DB, st.floats(0.5, 1.0))
def test_an_open_gate_means_that_every_limit_holds(psnr, persistence, auc, recall, ready, stopped, margin, least):
    quality = Quality(psnr, persistence, auc, recall, rewards_ready=ready, rewards_stopped=stopped)
    verdict = Gate(GateOptions(margin=margin, reward_auc=least)).generate(quality)
    assert verdict.reason and verdict.state == ("open" if verdict.allowed else "closed")
    if verdict.allowed:
        assert psnr > persistence + margin and auc >= least and recall >= 0.3 and ready and not stopped


@given(DB, DB, st.floats(0.0, 1.0), st.floats(0.0, 5.0))
def test_better_never_closes_it(psnr, persistence, auc, more):
    gate = Gate()
    if gate.generate(Quality(psnr, persistence, auc, 0.5)).allowed:
        assert gate.generate(Quality(psnr + more, persistence, auc, 0.5)).allowed


@given(ANY, ANY, AUC, st.booleans(), st.one_of(st.none(), st.floats(0.0, 1.0), st.just(math.nan)))
def test_confidence_is_a_share_and_nothing_while_the_gate_is_closed(psnr, persistence, auc, stopped, errors):
    gate = Gate()
    quality = Quality(psnr, persistence, auc, 0.5, rewards_stopped=stopped, false_positives=errors)
    assert 0.0 <= gate.confidence(quality) <= 1.0
    if not gate.generate(quality).allowed:
        assert gate.confidence(quality) == 0.0


def test_confidence_grows_with_frames_and_labels_and_the_worse_counts():
    gate = Gate()
    assert gate.confidence(Quality(26.0, 20.0, 0.97, 0.5, false_positives=0.0)) == 0.5
    assert gate.confidence(Quality(30.0, 20.0, 0.97, 0.5, false_positives=0.0)) == 1.0
    assert gate.confidence(Quality(30.0, 20.0, 0.97, 0.5, false_positives=0.025)) == 0.75
    assert gate.confidence(Quality(30.0, 20.0, 0.97, 0.5)) == 0.0, "labels that were never tried"
