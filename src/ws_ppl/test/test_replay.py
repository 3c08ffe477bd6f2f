"""Replay: n-step returns, pools, eviction, and frames that belong to their states."""

import numpy as np
import pytest

from ws_policy.backbone import CELL, CHANNELS
from ws_ppl.replay import PAD, Replay, SyntheticReplay
from ws_rollouts.episode import DEMONSTRATION, HUMAN, STATE, SYNTHETIC
from ws_rollouts.paths import taught
from ws_rollouts.task import load_task


@pytest.fixture
def plain_maps(monkeypatch):
    """A backbone that says of each cell how bright its first pixel is, in all channels."""
    def feature_maps(images):
        return np.repeat(images[:, ::CELL, ::CELL, :1], CHANNELS, -1).view(np.int8)

    monkeypatch.setattr("ws_ppl.replay.feature_maps", feature_maps)


def test_n_step_returns_stop_at_the_end_and_bootstrap_only_through_a_time_limit(task, make_episode):
    for success in (True, False):
        replay = Replay(task, 100)
        replay.add(make_episode("a", 5, success=success))
        batch = replay.sample({"online": 400}, n_step=3, gamma=0.5)
        start, end = batch.state[:, 0], batch.next_state[:, 0]
        assert np.array_equal(end, np.minimum(start + 3, 5))
        reaches = end == 5
        expected = np.where(reaches, 0.5 ** (4 - start), 0) if success else np.zeros(400)
        np.testing.assert_allclose(batch.returns, expected)
        discount = 0.5 ** (end - start)
        np.testing.assert_allclose(batch.discount, np.where(reaches & success, 0, discount))
        assert set(start) == {0, 1, 2, 3, 4}  # the last observation starts nothing


def test_what_an_episode_earned_is_known_at_each_of_its_steps(task, make_episode):
    replay = Replay(task, 100)
    replay.add(make_episode("d", 5, DEMONSTRATION))
    helped = make_episode("h", 6, tag=10)
    helped.source[2:4] = HUMAN  # the steps before that earned nothing by themselves
    replay.add(helped)
    replay.add(make_episode("f", 5, success=False, tag=20))
    batch = replay.sample({"demo": 200, "online": 400}, n_step=3, gamma=0.5)
    earned = dict(zip(batch.state[:, 0], batch.earned, strict=True))
    shown, by_help, failed = [0.5 ** (4 - t) for t in range(5)], [0, 0, *(0.5 ** (5 - t) for t in range(2, 6))], [0] * 5
    first = {0: shown, 10: by_help, 20: failed}
    assert earned == {step + t: value for step, values in first.items() for t, value in enumerate(values)}


def test_an_imagined_success_earns_nothing_beyond_its_rewards(task, make_episode):
    imagined = SyntheticReplay(task, 100)
    imagined.add(make_episode("s", 6, SYNTHETIC))
    batch = imagined.sample({"positive": 200}, n_step=3, gamma=0.5)
    assert not batch.earned.any() and batch.returns.max() == 1


@pytest.mark.parametrize("opening, classes, expected", [
    (0.6, [0, -1, -1, 0, -1, 1, 1, 0, -1], [0, 1, 0, 0, 0, 1, 0, 0, 1]),
    (0.6, [1, 1, 0, -1], [0, 0, 0, 1]),  # it is open at the start
    (0.3, [0, -1, 0, 1], [0, 0, 0, 1]),  # an episode that begins with something in the hand
])
def test_only_what_changes_the_held_gripper_class_is_a_switch(make_episode, opening, classes, expected):
    task = load_task("sorting")
    episode = make_episode("a", len(classes))
    episode.state[:, STATE["gripper"]] = opening
    episode.action[:-1, -1] = classes
    replay = Replay(task, 100)
    replay.add(episode)
    batch = replay.sample({"online": 200}, n_step=1, gamma=0.9)
    assert batch.switches.tolist() == [bool(expected[int(step)]) for step in batch.state[:, 0]]
    assert batch.switches_left.tolist() == [sum(expected[int(step):]) for step in batch.state[:, 0]]


def test_a_fixed_gripper_switches_never(task, make_episode):
    replay = Replay(task, 100)
    episode = make_episode("a", 5)
    episode.action[:, -1] = -1.0
    replay.add(episode)
    assert not replay.sample({"online": 50}, n_step=1, gamma=0.9).switches.any()


def test_maps_belong_to_their_states(plain_maps, task, make_episode):
    replay = Replay(task, 200)
    for k in range(5):
        replay.add(make_episode(str(k), 20, tag=40 * k))
    batch = replay.sample({"online": 300}, n_step=1, gamma=0.9)
    assert np.array_equal(batch.maps[:, 0, 0, 0].view(np.uint8), batch.state[:, 0].astype(np.uint8))
    assert np.array_equal(batch.next_maps[:, -1, -1, -1].view(np.uint8), batch.next_state[:, 0].astype(np.uint8))


def test_each_view_is_shifted_by_itself(plain_maps, task, make_episode):
    replay = Replay(task, 100)
    episode = make_episode("a", 20)
    for frames in episode.frames.values():
        frames[:] = 3 * np.arange(task.image_size, dtype=np.uint8)[None, :, None, None]  # brighter downwards
    replay.add(episode)
    maps = replay.sample({"online": 2000}, n_step=1, gamma=0.9).maps.view(np.uint8)
    middle = task.image_size // 2
    side, wrist = maps[:, middle // CELL, 0, [0, -1]].astype(int).T // 3 - middle
    for shift in (side, wrist):
        assert set(shift) == set(range(-PAD, PAD + 1))
    assert abs(np.corrcoef(side, wrist)[0, 1]) < 0.1


def test_an_episode_looks_the_same_whenever_it_comes(plain_maps, task, make_episode):
    """All that the side view of one step can look like, its episode read first or second."""
    def maps(names):
        replay = Replay(task, 100, seed=3)
        for name in names:
            episode = make_episode(name, 5, tag=ord(name))
            for frames in episode.frames.values():
                frames[:] = np.add.outer(np.arange(task.image_size), 2 * np.arange(task.image_size))[None, ..., None]
            replay.add(episode)
        batch = replay.sample({"online": 5000}, n_step=1, gamma=0.9)
        return {m.tobytes() for m in batch.maps[batch.state[:, 0] == ord("b"), ..., 0]}

    assert maps("ab") == maps("ba")


def test_oldest_rollouts_make_room_and_demonstrations_stay(task, make_episode):
    replay = Replay(task, 100)
    replay.add(make_episode("demo", 19, DEMONSTRATION, tag=200))
    for k in range(6):
        replay.add(make_episode(str(k), 19, tag=20 * k))
    assert replay.size("demo") == 19 and replay.size("online") == 4 * 19
    batch = replay.sample({"demo": 50, "online": 400}, n_step=3, gamma=0.9)
    assert batch.demo.sum() == 50 and np.all(batch.state[batch.demo, 0] >= 200)
    assert batch.state[~batch.demo, 0].min() == 40  # the first two are gone


def test_corrections_are_in_both_pools_and_failed_demonstrations_teach_nothing(task, make_episode):
    replay = Replay(task, 200)
    corrected = make_episode("corrected", 10)
    corrected.source[3:7] = HUMAN
    replay.add(corrected)
    replay.add(make_episode("failed", 10, DEMONSTRATION, success=False))
    assert replay.size("demo") == 4 and replay.size("online") == 20


def test_a_detour_of_a_demonstration_is_not_imitated_but_stays_for_the_critics(task, make_episode):
    episode = make_episode("d", 9, DEMONSTRATION)
    episode.action[:-1, 0] = np.arange(9) / 10
    episode.state[:] = 0.0
    episode.state[:, STATE["position"].start] = [0.05, 0.04, 0.03, 0.02, 0.03, 0.04, 0.03, 0.02, 0.01, 0.0]
    replay = Replay(task, 50)
    replay.add(episode)
    assert replay.size("demo") == 9
    batch = replay.sample({"demo": 200}, 1, 0.9)
    direct = taught(episode, task)
    assert 0 < direct.sum() < 9
    np.testing.assert_array_equal(batch.demo, direct[(10 * batch.action[:, 0]).round().astype(int)])


def test_full_of_demonstrations_is_an_error(task, make_episode):
    replay = Replay(task, 30)
    replay.add(make_episode("a", 20, DEMONSTRATION))
    with pytest.raises(ValueError, match="full of demonstrations"):
        replay.add(make_episode("b", 20, DEMONSTRATION))
