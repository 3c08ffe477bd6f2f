"""The cpu profile: geometry, training on little data, imagining, files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ws_rollouts.episode import STATE, VIEWS
from ws_rollouts.task import load_task, task_names
from ws_rollouts.testing import make_episode
from ws_world_model.bank import FrameBank
from ws_world_model.calibration import Calibration, CalibrationOptions
from ws_world_model.clips import Cutter
from ws_world_model.dynamics import DynamicsOptions, KinematicWorldModel
from ws_world_model.files import WorldModelError, load_world_model, save_world_model
from ws_world_model.geometry import Projector, pose_when_exposed
from ws_world_model.imagination import context_of, stack
from ws_world_model.layers import CELLS, PATCH, PLANES, SOURCES, TableMap, cut, look
from ws_world_model.training import Trainer, TrainerOptions

TASK = load_task("pushing")
SMALL = DynamicsOptions(hidden=16, width=10)


def episode(steps=12, **more):
    """The arm moves straight across the middle of the workspace."""
    made = make_episode(steps, **more)
    made.state[:] = 0.0
    made.state[:, STATE["position"]] = np.linspace((0.22, -0.03, 0.2), (0.28, 0.03, 0.16), steps + 1)
    made.state[:, STATE["velocity"]] = np.diff(made.state[:2, STATE["position"]], axis=0) / 0.1
    return made


@pytest.fixture(scope="module")
def projector():
    return Projector(Calibration(TASK))


@pytest.fixture(scope="module")
def table():
    return TableMap(Calibration(TASK), TASK)


def seen_from(table, picture, source, plane, poses):
    """A wrist picture, taken at `source`, as it looks from `poses` when all of it lies on one plane: (N, S, S, 3)."""
    frames = {"side": np.zeros_like(picture), "wrist": picture}
    laid = table.lay_out(frames, frames, np.stack([source, source]), "both", True)
    colour = torch.from_numpy(laid).view(CELLS, CELLS, PLANES, SOURCES, 3)[:, :, plane, 0].permute(2, 0, 1) / 255.0
    planes = torch.zeros(1, PLANES, 4, CELLS, CELLS)
    planes[0, plane] = torch.cat([colour, torch.ones(1, CELLS, CELLS)])
    return look(planes, table.grids(poses[None]), 64).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("plane", [0, 3])
def test_the_map_looks_the_same_from_where_it_was_seen(table, plane):
    source = episode().state[4]
    rows, columns = np.mgrid[:64, :64]
    picture = np.stack([4 * rows, 4 * columns, 128 + 0 * rows], axis=-1).astype(np.uint8)
    same = seen_from(table, picture, source, plane, source[None])[0]
    np.testing.assert_allclose(same[8:-8, 8:-8], picture[8:-8, 8:-8] / 255.0, atol=0.02)


@pytest.mark.parametrize("name", task_names())
def test_what_lies_on_a_tasks_table_stays_there(name):
    """A spot on the table, seen by the wrist camera from one place, is where the lens says from another."""
    task = load_task(name)
    cameras = Calibration(task)
    source, moved = np.zeros((2, 13), np.float32)
    source[:3] = np.mean([task.workspace_low, task.workspace_high], axis=0)
    moved[:3] = source[:3] + (0.01, 0.02, 0.02)
    spot = np.array([*(source[:2] + cameras.wrist_offset), task.table])
    pixels = []
    for state in (source, moved):
        (lens,), (turned,) = cameras.wrist_pose(state[None])
        seen = cameras.wrist.matrix @ turned.T @ (spot - lens)
        pixels.append(seen[:2] / seen[2])
    picture = np.zeros((64, 64, 3), np.uint8)
    column, row = np.round(pixels[0]).astype(int)
    picture[row - 1 : row + 2, column - 1 : column + 2] = 255
    seen = seen_from(TableMap(cameras, task), picture, source, 0, moved[None])[0][..., 0]
    found = np.array([np.arange(64) @ seen.sum(0), np.arange(64) @ seen.sum(1)]) / seen.sum()
    np.testing.assert_allclose(found, pixels[1], atol=0.7)


@pytest.mark.parametrize("name", task_names())
def test_the_map_reaches_from_the_table_to_below_the_lens(name):
    task = load_task(name)
    heights = TableMap(Calibration(task), task).heights
    assert heights[0] == pytest.approx(task.table) and (np.diff(heights) > 0).all()
    assert task.workspace_low[2] < heights[-1] < task.workspace_low[2] + CalibrationOptions().wrist_xyz[2]


def test_what_lies_lower_moves_less_under_a_moving_camera(table):
    """Parallax: sideways motion shifts the near plane further than the table."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[28:36, 28:36] = 255
    source = episode().state[0]
    moved = source.copy()
    moved[1] += 0.02
    columns = [np.arange(64) @ seen[..., 0].sum(0) / seen[..., 0].sum()
               for seen in (seen_from(table, picture, source, plane, moved[None])[0] for plane in (0, 4))]
    assert abs(columns[1] - 31.5) > abs(columns[0] - 31.5) + 1.0 > 1.5


def test_the_core_looks_at_the_map_under_the_tool(table):
    planes = torch.zeros(1, PLANES, 4, CELLS, CELLS)
    place = np.array([[[0.27, 0.02, 0.2], [0.33, -0.05, 0.15]]])
    row, column = np.round((place[0, 0, :2] - table.low) / table.step).astype(int)
    planes[0, 2, 1, row - 1 : row + 2, column - 1 : column + 2] = 1.0
    squares = cut(planes, table.around(place)).view(2, PLANES, 4, PATCH, PATCH)
    middle = slice(PATCH // 2 - 1, PATCH // 2 + 1)
    assert squares[0, 2, 1, middle, middle].min() > 0.5 and squares[1].abs().max() == 0.0
    assert squares[0].sum() == squares[0, 2, 1].sum()


def targets(state, action):
    """The locked target before and after one command, in m."""
    core = KinematicWorldModel(TASK, SMALL).core
    following, _ = core(torch.zeros(1, 64), torch.from_numpy(state[None]), torch.from_numpy(action[None]))
    after = following.detach().numpy()[0]
    return (s[STATE["position"]] + s[STATE["lag"]] for s in (state, after))


def test_the_locked_target_moves_by_the_command_whatever_the_arm_does():
    state = episode().state[3]
    before, after = targets(state, np.array([0.5, -1.0, 0.25, 0.0], np.float32))
    np.testing.assert_allclose(after - before, np.array([0.5, -1.0, 0.25]) * TASK.action_scale, atol=1e-6)


def test_the_locked_target_leads_no_further_than_the_driver_lets_it():
    state = episode().state[3].copy()
    state[STATE["lag"]] = 0.029, 0.0, 0.0
    _, after = targets(state, np.array([1.0, 0.0, 0.0, 0.0], np.float32))
    np.testing.assert_allclose(after - state[STATE["position"]], [0.03, 0.0, 0.0], atol=1e-6)


def test_the_locked_target_stays_in_the_workspace():
    state = episode().state[3].copy()
    state[STATE["position"]] = TASK.workspace_high
    _, after = targets(state, np.array([1.0, 1.0, 1.0, 0.0], np.float32))
    np.testing.assert_allclose(after, TASK.workspace_high, atol=1e-6)


def test_a_tool_shift_moves_the_picture_by_the_tools_own_way(projector):
    made = episode()
    tools = projector.tool_pixels(made.state)
    picture = np.zeros((64, 64, 3), np.uint8)
    column, row = np.round(tools[0, :2]).astype(int)
    picture[row - 1 : row + 2, column - 1 : column + 2] = 255
    moved = projector.tool_shift(picture, tools[0], tools[-1])[..., 0].astype(float)
    found = np.array([np.arange(64) @ moved.sum(0), np.arange(64) @ moved.sum(1)]) / moved.sum()
    np.testing.assert_allclose(found, tools[-1, :2], atol=0.7)


def test_older_frames_show_the_arm_where_it_was():
    state = episode().state[4:6]
    np.testing.assert_allclose(pose_when_exposed(state[1:], state[:1], np.array([0.05]))[0, :3],
                               state[:, :3].mean(0), atol=1e-6)
    np.testing.assert_allclose(pose_when_exposed(state[1:], None, np.array([0.1]))[0, :3], state[0, :3], atol=1e-6)


@pytest.mark.parametrize(("view", "found"), [("side", 0), ("wrist", 1)])
def test_a_bank_shows_the_arm_by_its_place_and_the_fingers_by_their_opening(view, found):
    poses = np.zeros((3, 13), np.float32)
    poses[:, STATE["position"]] = (0.20, 0, 0.1), (0.29, 0, 0.1), (0.20, 0, 0.3)
    poses[:, STATE["gripper"]] = [[0.2], [0.6], [0.8]]
    frames = np.arange(3, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 64, 64, 3), np.uint8)
    bank, again = FrameBank(view, 64), FrameBank(view, 64)
    assert bank.nearest(poses[:1]) == [None]
    bank.add(frames, poses, owner=7)
    wanted = poses[:1].copy()
    wanted[:, STATE["gripper"]] = 0.6
    again.load(bank.tensors())
    for each in (bank, again):
        ((frame, pose),) = each.nearest(wanted)
        assert frame[0, 0, 0] == found
        np.testing.assert_array_equal(pose, poses[found])
        assert each.nearest(wanted, owner=7) == [None], "no episode is shown its own frames"


def test_a_batch_is_whole(projector, table):
    cutter = Cutter(projector, table, {view: FrameBank(view, 64) for view in VIEWS}, longest=10, drawn=3, windows=4)
    long, short = episode(12), episode(5, seed=1, outcome="timeout")
    batch = cutter.cut([long, short], [0, 1], np.random.default_rng(0))
    assert batch.windows.shape == batch.valid.shape == (2, 4, 10)
    lengths = batch.valid.sum(2).astype(int)
    assert lengths.min() >= 1 and (batch.which < lengths[:, :1]).all() and (batch.windows[:, 0, 0] == 0).all()
    for b, whole in enumerate((long, short)):
        rest = batch.state[b, : batch.windows[b].max() + 2]
        np.testing.assert_array_equal(rest, whole.state[-len(rest) :], "to the episode's end")
    assert batch.done.sum(1).tolist() == [1, 0]


def test_training_lowers_the_loss_and_the_average_follows():
    fast = DynamicsOptions(hidden=16, width=10, learning_rate=5e-3)
    trainer = Trainer(TASK, TrainerOptions(clips=2, drawn=2, warm_up=1), fast)
    trainer.add(episode(6))
    losses = [trainer.step() for _ in range(40)]
    assert losses[-1]["pixels"] < 0.6 * losses[0]["pixels"]
    live, kept = (next(m.parameters()) for m in (trainer.live, trainer.model))
    assert 0 < (live - kept).abs().max() < 0.1


def test_the_oldest_rollouts_make_room_and_demonstrations_stay():
    trainer = Trainer(TASK, TrainerOptions(memory_mib=10), SMALL)
    trainer.add(episode(60, demonstration=True, episode_id="demo"))
    for k in range(12):
        trainer.add(episode(60, seed=k, episode_id=f"rollout{k}"))
    assert list(trainer.demonstrations) == ["demo"]
    assert list(trainer.rollouts)[-1] == "rollout11" and "rollout0" not in trainer.rollouts


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(ValueError, match="no episodes"):
        Trainer(TASK, dynamics=SMALL).step()


def test_imagining_is_deterministic_and_of_the_right_shape():
    model = KinematicWorldModel(TASK, SMALL).eval()
    made = episode(20)
    context = stack([context_of(made, 2, 15)] * 2)
    actions = np.stack([made.action[2:17], -made.action[2:17]])
    first, again = model.imagine(context, actions), model.imagine(context, actions)
    assert first.state.shape == (2, 15, 13) and first.reward.shape == (2, 15)
    for view in VIEWS:
        assert first.frames[view].shape == (2, 15, 64, 64, 3) and first.frames[view].dtype == np.uint8
        np.testing.assert_array_equal(first.frames[view], again.frames[view])
    assert np.abs(first.state[0] - first.state[1]).max() > 1e-3, "actions matter"


def test_a_shorter_future_is_the_start_of_a_longer_one():
    model = KinematicWorldModel(TASK, SMALL).eval()
    made = episode(20)
    context = context_of(made, 0, 20)
    long, short = (model.imagine(context, made.action[None, :n]) for n in (20, 7))
    np.testing.assert_allclose(long.state[:, :7], short.state, atol=1e-6)


@pytest.mark.parametrize("actions", [np.zeros((1, 5, 3), np.float32), np.zeros((2, 5, 4), np.float32),
                                     np.zeros((1, 9, 4), np.float32), np.full((1, 5, 4), np.nan, np.float32)])
def test_actions_that_do_not_fit_are_refused(actions):
    with pytest.raises(ValueError, match="actions"):
        KinematicWorldModel(TASK, SMALL).imagine(context_of(episode(), 0, 8), actions)


def test_a_segment_beyond_the_episode_is_refused():
    with pytest.raises(ValueError, match="no segment of 9 at 5"):
        context_of(episode(12), 5, 9)


def test_a_saved_model_imagines_the_same(tmp_path: Path):
    model = KinematicWorldModel(TASK, SMALL).eval()
    model.version = 4
    save_world_model(model, tmp_path / "v.safetensors", {"steps": "3"})
    loaded = load_world_model(tmp_path / "v.safetensors", TASK)
    made = episode()
    a, b = (m.imagine(context_of(made, 0, 12), made.action[None, :12]) for m in (model, loaded))
    assert loaded.version == 4
    np.testing.assert_array_equal(a.frames["side"], b.frames["side"])


def test_foreign_files_are_refused_by_name(tmp_path: Path):
    path = tmp_path / "v.safetensors"
    with pytest.raises(WorldModelError, match="not readable"):
        load_world_model(path, TASK)
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(WorldModelError, match=r"v\.safetensors"):
        load_world_model(path, TASK)
    model = KinematicWorldModel(TASK, SMALL)
    save_world_model(model, path, {"task": "sorting"})
    with pytest.raises(WorldModelError, match="task is 'sorting'"):
        load_world_model(path, TASK)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    save_world_model(model, path)
    with pytest.raises(WorldModelError, match="not finite"):
        load_world_model(path, TASK)
