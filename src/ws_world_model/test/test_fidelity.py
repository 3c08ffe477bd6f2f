"""Fidelity is measured fairly: the truth gets the cap, persistence gets persistence's own row."""

import dataclasses
import math

import cv2
import numpy as np
import pytest

from ws_rollouts.episode import VIEWS
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.cases import imagine_all
from ws_world_model.fidelity import replay_case, replay_cases, score
from ws_world_model.imagination import Imagined
from ws_world_model.metrics import PSNR_CAP
from ws_world_model.pictures import strip, write_strip, write_video

SIZE = 16


def episode(steps, seed=0, outcome="success"):
    made = make_episode(steps, size=SIZE, seed=seed, outcome=outcome, episode_id=f"test_{seed}")
    for view in VIEWS:  # something bright that moves, so that persistence is wrong
        for t in range(steps + 1):
            made.frames[view][t, 4:8, t % 12 : t % 12 + 3] = 250
    return made


class Fake:
    """Imagines what `after(context number, step)` says; knows the truth by the start's state."""

    task, version, profile = load_task("pushing"), 7, "test"

    def __init__(self, episodes, persistent):
        self._places = {e.state[t].tobytes(): (e, t) for e in episodes for t in range(len(e))}
        self._persistent = persistent
        self.calls = []

    def imagine(self, context, actions):
        n, length, _ = actions.shape
        assert context.age.shape == (n, length + 1, 2)
        self.calls.append((n, length))
        frames = {view: np.repeat(context.frames[view][:, None], length, axis=1) for view in VIEWS}
        state = np.repeat(context.state[:, None], length, axis=1)
        reward = np.zeros((n, length), np.float32)
        for i in range(n if not self._persistent else 0):
            known, start = self._places[context.state[i].tobytes()]
            for k in range(min(length, len(known) - start)):
                for view in VIEWS:
                    frames[view][i, k] = known.frames[view][start + 1 + k]
                state[i, k] = known.state[start + 1 + k]
                reward[i, k] = known.reward[start + 1 + k]
        return Imagined(frames, state, reward)


EPISODES = [episode(50), episode(15, 1, "timeout")]


def test_replays_start_everywhere_and_go_to_the_end():
    cases = replay_cases(EPISODES)
    assert [(c.start, len(c)) for c in cases] == [(0, 50), (12, 38), (24, 26), (36, 14), (48, 2), (0, 15), (12, 3)]
    assert [c.success for c in cases] == [True] * 5 + [False] * 2
    assert max(len(c) for c in replay_cases(EPISODES, max_length=20, every=5)) == 20
    assert not replay_case(EPISODES[0], 0, 20).success
    case = cases[1]
    assert np.array_equal(case.frames["side"][0], EPISODES[0].frames["side"][13])
    assert np.array_equal(case.actions[0], EPISODES[0].action[12])


def test_truth_scores_the_cap():
    report = score(Fake(EPISODES, persistent=False), replay_cases(EPISODES))
    for row in report.rows:
        assert row.model.psnr == row.model.psnr_at == row.model.psnr_moving == row.model.psnr_moving_frames == PSNR_CAP
        assert row.model.ssim == pytest.approx(1.0) and row.model.ssim_at == pytest.approx(1.0)
        assert row.persistence.psnr < 30 and row.persistence.psnr_moving < row.persistence.psnr
        assert math.isnan(row.model.lpips) and report.lpips
    assert report.position_error["48"][0] == 0 and report.position_error["48"][1] > 0
    dynamics, = report.outcomes
    assert (dynamics.agreement, dynamics.successes, dynamics.failures, dynamics.false_positives) == (1.0, 5, 2, 0)


def test_persistence_scores_exactly_as_persistence():
    report = score(Fake(EPISODES, persistent=True), replay_cases(EPISODES))
    for row in report.rows:
        np.testing.assert_equal(dataclasses.asdict(row.model), dataclasses.asdict(row.persistence))
    assert report.outcomes[0].false_negatives == 5
    assert all(case.psnr == case.persistence for case in report.cases)


def test_horizons_take_the_cases_that_are_long_enough():
    report = score(Fake(EPISODES, persistent=True), replay_cases(EPISODES))
    assert [report.row("side", h).cases for h in (1, 12, 48, "full")] == [7, 5, 1, 7]
    row = report.row("wrist", 48)
    case = replay_case(EPISODES[0], 0, 48)
    start = EPISODES[0].frames["wrist"][0].astype(float)
    error = ((case.frames["wrist"] - start) ** 2).mean(axis=(1, 2, 3)) / 255**2
    expected = -10 * np.log10(error)
    assert row.persistence.psnr == pytest.approx(expected.mean())
    assert row.persistence.psnr_at == pytest.approx(expected[-1])
    both = (report.row("side", 48).persistence.psnr + row.persistence.psnr) / 2
    assert report.row("pooled", 48).persistence.psnr == pytest.approx(both)
    assert 0 < row.moving_share < 0.2 and 0.9 < row.moving_frames <= 1.0  # the bright patch returns now and then
    assert math.isnan(score(Fake(EPISODES, True), replay_cases(EPISODES[1:]), (48,)).row("side", 48).model.psnr)


def test_cases_of_like_length_are_imagined_together():
    fake, cases = Fake(EPISODES, persistent=False), replay_cases(EPISODES)
    for i, imagined in imagine_all(fake, cases):
        assert np.array_equal(imagined.state[0], cases[i].state)
    assert fake.calls == [(2, 3), (2, 15), (1, 26), (1, 38), (1, 50)]


def test_a_reward_model_judges_imagined_and_real_frames():
    class Rewards:
        def predict(self, frames, state):
            assert frames["side"].shape == (len(state), SIZE, SIZE, 3)
            return state.T  # (13, T): what it says of each observation is the observation

        def label(self, said):
            still = np.array_equal(said[:, -1], said[:, 0])
            kind = "abstain" if said.shape[1] < 4 else "success" if still else "failure"
            return type("Label", (), {"kind": kind})

    report = score(Fake(EPISODES, persistent=True), replay_cases(EPISODES), rewards=Rewards())
    by = {o.judge: o for o in report.outcomes}
    imagined, real = by["rewards"], by["rewards, real"]
    assert (imagined.abstained, imagined.false_positives, imagined.failures) == (2, 1, 1)
    assert (real.false_positives, real.false_negatives, real.agreement) == (0, 4, 0.2)
    assert report.cases[4].outcome == {"dynamics": "failure", "rewards": "abstain", "rewards, real": "abstain"}


def test_no_cases_are_an_error():
    with pytest.raises(ValueError, match="no cases"):
        score(Fake([], True), [])


def test_pictures_show_real_over_imagined_over_difference(tmp_path):
    case = replay_case(EPISODES[1], 0, 15)
    for truth in (True, False):
        (_, imagined), = imagine_all(Fake(EPISODES, not truth), [case])
        picture = strip(case, imagined, [0, 5, 15])
        tile = 128 + 2
        assert picture.shape == (18 + 6 * tile, 110 + 3 * tile, 3)
        body = picture[18:, 110:].reshape(6, tile, 3, tile, 3)[:, :128, :, :128]
        assert np.array_equal(body[0, ::8, 1, ::8], case.frames["side"][4])
        assert (body[2].max() == 0) == truth and body[2, :, 0].max() == 0  # the start is what it is
    path = write_strip(tmp_path / "strip.png", case, imagined)
    assert cv2.imread(str(path)) is not None
    path = write_video(tmp_path / "video.png", case, imagined)
    assert path.suffix in (".mp4", ".avi", ".webp") and list(tmp_path.glob("video*")) == [path]
    if path.suffix != ".webp":
        video = cv2.VideoCapture(str(path))
        assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 16 and video.get(cv2.CAP_PROP_FPS) == 10
    assert not [f for f in tmp_path.iterdir() if f.name.startswith(".")]


def test_a_machine_without_a_codec_gets_an_animation(tmp_path, monkeypatch):
    case = replay_case(EPISODES[1], 0, 3)
    (_, imagined), = imagine_all(Fake(EPISODES, False), [case])
    from ws_world_model import pictures

    monkeypatch.setattr(pictures, "_WRITERS", {".mp4": lambda *_: False, ".webp": pictures._WRITERS[".webp"]})
    path = write_video(tmp_path / "video.png", case, imagined)
    assert path.suffix == ".webp" and path.read_bytes()[:4] == b"RIFF"
    assert [f.name for f in tmp_path.iterdir()] == ["video.webp"]
    monkeypatch.setattr(pictures, "_WRITERS", {".mp4": lambda *_: False})
    with pytest.raises(OSError, match="no codec"):
        write_video(tmp_path / "video.png", case, imagined)
