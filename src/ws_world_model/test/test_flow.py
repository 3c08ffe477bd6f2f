"""The latent flow world model in its test profile: shapes, determinism, chunks, learning, what is kept."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch

from ws_node.options import build
from ws_rollouts.episode import VIEWS
from ws_rollouts.task import load_task
from ws_rollouts.testing import make_episode
from ws_world_model.flow import learning
from ws_world_model.flow import model as model_module
from ws_world_model.flow.batch import Past, conditions_of, windows
from ws_world_model.flow.flow import sample
from ws_world_model.flow.learning import window_frames, window_tensors
from ws_world_model.flow.model import GPU, TEST, ClipBatch, FlowOptions, FlowWorldModel, clips_of
from ws_world_model.flow.transformer import LatentTransformer
from ws_world_model.imagination import context_of, stack

TASK = load_task("pushing")
CPU = torch.device("cpu")
SMALL = dataclasses.replace(TEST, side_size=32, wrist_size=16)  # for what trains


@pytest.fixture(scope="module")
def episode():
    """A bright bar that the first action pushes to and fro, so that there is something to learn."""
    episode = make_episode(30, seed=3)
    place = np.clip(32 + np.cumsum(np.r_[0, 4 * episode.action[:-1, 0]]), 4, 60).astype(int)
    for view in VIEWS:
        for t, x in enumerate(place):
            episode.frames[view][t, :, x - 4 : x + 4] = 255
    episode.state[:] = 0
    episode.state[:, :3] = (0.27, 0.0, 0.19) + 0.012 * np.r_[np.zeros((1, 3)), np.cumsum(episode.action[:-1, :3], 0)]
    episode.state[1:, 7:10] = 0.12 * episode.action[:-1, :3]
    return episode


@functools.cache
def awake(options: FlowOptions = TEST, seed: int = 1) -> FlowWorldModel:
    """A model whose blocks, which start as the identity, do something; not trained."""
    model = FlowWorldModel(TASK, options)
    random = np.random.default_rng(seed)
    tensors = {
        name: t if name == "steps" or name.endswith(("mean", "deviation"))
        else t + random.normal(0, 0.1, t.shape).astype(np.float32)
        for name, t in model.tensors().items()
    }
    model.load_tensors(tensors)
    return model


def same(a, b) -> bool:
    return all(np.array_equal(a.frames[view], b.frames[view]) for view in VIEWS) and np.array_equal(
        a.state, b.state) and np.array_equal(a.reward, b.reward)


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(t, b[name]) for name, t in a.items())


def starts(episode, *begins: int, length: int = 14):
    return stack([context_of(episode, begin, length) for begin in begins]), np.stack(
        [episode.action[begin : begin + length] for begin in begins])


def test_it_imagines_both_views_state_and_reward_in_the_size_of_the_frames(episode):
    context, actions = starts(episode, 0, 5)
    imagined = awake().imagine(context, actions)
    for view in VIEWS:
        assert imagined.frames[view].shape == (2, 14, 64, 64, 3)
        assert imagined.frames[view].dtype == np.uint8
    assert imagined.state.shape == (2, 14, 13)
    assert imagined.reward.shape == (2, 14)
    assert np.all((imagined.reward > 0) & (imagined.reward < 1))


def test_frames_of_another_size_than_the_models_go_in_and_come_out():
    episode = make_episode(3, size=48)
    imagined = FlowWorldModel(TASK, TEST).imagine(context_of(episode, 0, 3), episode.action[None, :3])
    assert imagined.frames["side"].shape == imagined.frames["wrist"].shape == (1, 3, 48, 48, 3)


def test_imagining_depends_on_weights_seed_and_inputs_alone(episode):
    context, actions = starts(episode, 0, 5)
    model = awake()
    first = model.imagine(context, actions)
    assert same(first, model.imagine(context, actions))
    assert same(first, awake.__wrapped__().imagine(context, actions))
    other = FlowWorldModel(TASK, dataclasses.replace(TEST, seed=7))
    other.load_tensors(model.tensors())
    assert not same(first, other.imagine(context, actions))


def test_a_start_is_imagined_the_same_beside_others(episode):
    model = awake()
    together = model.imagine(*starts(episode, 0, 5))
    alone = model.imagine(*starts(episode, 5))
    np.testing.assert_allclose(together.state[1:], alone.state, atol=1e-5)
    assert np.abs(together.frames["side"][1:].astype(int) - alone.frames["side"]).max() <= 1


def test_no_observation_depends_on_a_later_action(episode):
    """What makes an imagination in chunks, or a part of a chunk, the beginning of a longer one."""
    model = awake()
    context, actions = starts(episode, 2, length=20)
    whole = model.imagine(context, actions)
    for steps in (12, 15):
        part = model.imagine(context, actions[:, :steps])
        np.testing.assert_allclose(part.state, whole.state[:, :steps], atol=1e-5)
        for view in VIEWS:
            assert np.abs(part.frames[view].astype(int) - whole.frames[view][:, :steps]).max() <= 1
    changed = actions.copy()
    changed[:, 14, 0] *= -1
    other = model.imagine(context, changed)
    np.testing.assert_allclose(other.state[:, :14], whole.state[:, :14], atol=1e-6)
    assert not np.allclose(other.state[:, 14:], whole.state[:, 14:], atol=1e-3)
    assert not np.array_equal(other.frames["side"][:, 14:], whole.frames["side"][:, 14:])


@pytest.mark.parametrize("history", [2, 4])
def test_a_later_chunk_is_told_in_training_what_it_is_told_when_imagining(episode, history):
    """The window of a training clip and the past of an imagination that came true lead to the same conditions."""
    options = dataclasses.replace(TEST, history=history)
    batch = clips_of([(episode, 0), (episode, 3)], 26)
    window = next(w for w in windows(26, history - 1) if w.known and w.start == 12)
    model = FlowWorldModel(TASK, options)
    latents = model._autoencoders.encode(window_frames(batch, window), CPU)
    past, action, state, age = window_tensors(batch, window, latents, CPU)
    trained = conditions_of(past, history, action, state, age, lambda s: s)

    first = next(w for w in windows(26, history - 1) if not w.known and w.start == 0)
    seen = model._autoencoders.encode(window_frames(batch, first), CPU)
    start, action, state, age = window_tensors(batch, first, seen, CPU)
    true = {view: seen[view][:, 2:] for view in VIEWS}
    chained: Past = start.followed_by(true, action, state, age, history)
    second = slice(12, window.end)
    imagined = conditions_of(
        chained, history, torch.from_numpy(batch.action[:, second]), torch.from_numpy(batch.state[:, 13:25]),
        torch.from_numpy(batch.age[:, 13:25]), lambda s: s)
    for field in dataclasses.fields(trained):
        torch.testing.assert_close(getattr(trained, field.name), getattr(imagined, field.name))
    for view in VIEWS:
        torch.testing.assert_close(past.latents[view], chained.latents[view], atol=1e-5, rtol=1e-4)


def test_the_prior_of_the_state_is_the_locked_target(episode):
    context, actions = starts(episode, 0, length=3)
    context.state[:, 10:] = (0.0, 0.005, 0.0)
    state = FlowWorldModel(TASK, TEST).imagine(context, actions).state
    target = context.state[:, None, :3] + [0, 0.005, 0] + 0.012 * np.cumsum(actions[..., :3], axis=1)
    np.testing.assert_allclose(state[..., :3], np.clip(target, TASK.workspace_low, TASK.workspace_high), atol=1e-6)


def test_the_sampler_makes_as_many_steps_as_asked(episode, monkeypatch):
    times = []
    forward = LatentTransformer.forward

    def spied(self, latents, time, conditions):
        times.append(float(time[0, -1]))
        assert torch.all(time[:, :2] == 1)  # the history holds no noise
        return forward(self, latents, time, conditions)

    monkeypatch.setattr(LatentTransformer, "forward", spied)
    context, actions = starts(episode, 0)
    FlowWorldModel(TASK, dataclasses.replace(TEST, sampler_steps=4)).imagine(context, actions)
    assert times == [0, 0.25, 0.5, 0.75] * 2


def test_a_straight_flow_arrives_in_one_step():
    """With the true velocity, data minus noise, Euler's method is exact."""
    noise, data = ({v: torch.randn(1, 3, 2, 4, 4) for v in VIEWS} for _ in range(2))
    past = {view: torch.zeros(1, 2, 2, 4, 4) for view in VIEWS}

    def network(latents, time, conditions):
        return {view: torch.cat([past[view], data[view] - noise[view]], dim=1) for view in VIEWS}

    for steps in (1, 5):
        torch.testing.assert_close(sample(network, past, noise, None, steps), data, atol=1e-5, rtol=1e-5)


def test_it_learns_a_clip(episode):
    """First the pictures, then what moves them."""
    model = FlowWorldModel(TASK, dataclasses.replace(SMALL, autoencoder_steps=20, hidden=32))
    batch = clips_of([(episode, 0)], 15)
    losses = [model.train_step(batch) for _ in range(60)]
    assert model.steps == 60

    def mean(name: str, part: slice) -> float:
        return float(np.mean([loss[name] for loss in losses[part]]))

    for view in VIEWS:
        assert mean(f"autoencoder_{view}", slice(15, 20)) < 0.7 * mean(f"autoencoder_{view}", slice(0, 5))
    for name, share in (("flow", 0.8), ("state", 0.7), ("reward", 0.7)):
        assert mean(name, slice(45, 60)) < share * mean(name, slice(20, 25)), name
    assert "decoder_side" in losses[20] and "decoder_side" not in losses[21]


def test_it_trains_and_imagines_as_on_cuda(episode, monkeypatch):
    """In bfloat16 and with blocks computed again in the backward pass, on the CPU."""
    for module in (learning, model_module):
        monkeypatch.setattr(module, "autocast", lambda device: torch.autocast("cpu", dtype=torch.bfloat16))
    model = FlowWorldModel(TASK, dataclasses.replace(SMALL, autoencoder_steps=1, recompute=True))
    batch = clips_of([(episode, 0)], 15)
    assert all(np.isfinite(list(model.train_step(batch).values())).all() for _ in range(4))
    imagined = model.imagine(*starts(episode, 0))
    assert imagined.state.dtype == imagined.reward.dtype == np.float32
    assert {t.dtype for name, t in model.tensors().items() if name != "steps"} == {np.dtype(np.float32)}


def test_what_is_kept_imagines_the_same(episode):
    model = FlowWorldModel(TASK, dataclasses.replace(SMALL, autoencoder_steps=1))
    batch = clips_of([(episode, 0)], 12)
    for _ in range(3):
        model.train_step(batch)
    copy = FlowWorldModel(TASK, SMALL)
    copy.load_tensors(model.tensors())
    context, actions = starts(episode, 4)
    assert same(model.imagine(context, actions), copy.imagine(context, actions))
    assert copy.steps == 3
    assert equal(model.tensors(), copy.tensors())


def test_training_goes_on_as_if_it_had_not_stopped(episode):
    options = dataclasses.replace(SMALL, autoencoder_steps=1)
    batch = clips_of([(episode, 0)], 15)
    model, copy = FlowWorldModel(TASK, options), FlowWorldModel(TASK, options)
    for _ in range(3):
        model.train_step(batch)
    copy.load_tensors(model.tensors(training=True))
    assert [model.train_step(batch) for _ in range(3)] == [copy.train_step(batch) for _ in range(3)]
    assert equal(model.tensors(), copy.tensors())


@pytest.mark.parametrize("spoil, message", [
    (lambda t: t.pop("predictor.state.start.bias"), "predictor.state.start.bias: missing"),
    (lambda t: t.update(other=np.zeros(2)), "other: unknown"),
    (lambda t: t["predictor.state.start.bias"].fill(np.nan), "predictor.state.start.bias: not finite"),
    (lambda t: t.update({"predictor.state.start.bias": np.zeros(3, np.float32)}), "another architecture"),
    (lambda t: t.update({"moments.0.step": np.zeros((), np.float32)}), "moments.* missing"),
])
def test_weights_that_do_not_fit_are_refused_and_change_nothing(spoil, message):
    model = FlowWorldModel(TASK, SMALL)
    before = model.tensors()
    tensors = {name: tensor + 1 for name, tensor in before.items()}
    spoil(tensors)
    with pytest.raises(ValueError, match=message):
        model.load_tensors(tensors)
    assert equal(before, model.tensors())


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_missing_cuda_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match="finds no CUDA device.*NVIDIA GPU.*profile cpu"):
        FlowWorldModel(TASK, GPU)


@pytest.mark.parametrize("change, message", [({"side_size": 100}, "side_size = 100"), ({"heads": 3}, "width = 16")])
def test_sizes_that_do_not_fit_together_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        FlowWorldModel(TASK, dataclasses.replace(TEST, **change))


def test_presets_are_within_their_own_ranges():
    for preset in (GPU, TEST):
        assert build(FlowOptions, dataclasses.asdict(preset)) == preset


def test_the_gpu_profile_has_the_size_it_says():
    """Counted without memory: on torch's meta device."""
    sizes = {}
    for width, heads in ((384, 6), (512, 8), (768, 12)):
        with torch.device("meta"):
            network = LatentTransformer(TASK.action_size, dataclasses.replace(GPU, width=width, heads=heads))
        sizes[width] = sum(p.numel() for p in network.parameters()) / 1e6
    assert 33 <= sizes[384] < sizes[512] < sizes[768] <= 135, sizes
    assert sum(FlowWorldModel(TASK, TEST).parameter_counts().values()) < 100_000


def test_clips_and_actions_that_do_not_fit_are_refused(episode):
    with pytest.raises(ValueError, match="no clip of 12 at 25, it has 30 actions"):
        clips_of([(episode, 25)], 12)
    batch = clips_of([(episode, 0)], 5)
    with pytest.raises(ValueError, match="reward"):
        ClipBatch(batch.frames, batch.state, batch.action, batch.reward[:, 1:])
    context, actions = starts(episode, 0)
    with pytest.raises(ValueError, match=r"15 actions: the context has ages for 1 .. 14"):
        FlowWorldModel(TASK, TEST).imagine(context, np.concatenate([actions, actions[:, :1]], axis=1))
    with pytest.raises(ValueError, match=r"must be \(1, T, 4\)"):
        FlowWorldModel(TASK, TEST).imagine(context, actions[..., :3])
    with pytest.raises(ValueError, match="not finite"):
        FlowWorldModel(TASK, TEST).imagine(context, np.full_like(actions, np.nan))
