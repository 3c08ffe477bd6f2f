"""Tasks are read, checked and refused by name."""

import numpy as np
import pytest

from ws_rollouts.task import load_task, task_names


@pytest.mark.parametrize("name", task_names())
def test_every_task_loads_and_agrees_with_itself(name):
    task = load_task(name)
    assert task.name == name
    assert task.instruction
    assert task.action_size == len(task.action_scale) + 1
    assert len(task.crop("side")) == len(task.crop("wrist")) == 4
    center = np.add(task.workspace_low, task.workspace_high) / 2
    np.testing.assert_array_equal(task.clip_to_workspace(center), center)
    np.testing.assert_array_equal(task.clip_to_workspace(center + 10), task.workspace_high)


@pytest.mark.parametrize(("name", "overrides", "reason"), [
    ("juggling", {}, "must be one of .*pushing"),
    ("pushing", {"speed": 1}, "unknown option 'speed'"),
    ("pushing", {"episode_steps": 0}, "episode_steps = 0"),
    ("pushing", {"episode_steps": 10.5}, "episode_steps = 10.5"),
    ("pushing", {"reset_joints": [0, 1]}, "reset_joints"),
    ("pushing", {"action_scale": [float("nan")] * 3}, "action_scale"),
    ("sorting", {"handling": {"grips": 0.1}}, "unknown option 'grips'"),
    ("sorting", {"handling": {"precision": 0.0}}, "handling: precision = 0.0"),
    ("sorting", {"handling": 5}, "handling = 5"),
    ("pushing", {"workspace_low": [0.5, 0.5, 0.5]}, "must be below"),
    ("pushing", {"crop_side": [0, 0, 0, 0]}, "crop_side = .*at least one"),
    ("pushing", {"crop_wrist": [0.5, 0, 64, 64]}, "crop_wrist = .*whole pixels"),
])
def test_a_wrong_task_is_refused(name, overrides, reason):
    with pytest.raises(ValueError, match=reason):
        load_task(name, overrides)


def test_overrides_leave_the_rest_of_the_handling_as_it_is():
    plain, changed = load_task("sorting"), load_task("sorting", {"handling": {"over": 0.08}})
    assert changed.handling.over == 0.08 and changed.handling.thing == plain.handling.thing == "banana"


@pytest.mark.parametrize(("gripper", "commanded"), [
    ("fixed", (0.4, 0.4, 0.4)), ("learned", (0.0, None, 0.4)),
])
def test_a_gripper_class_is_an_opening(gripper, commanded):
    task = load_task("pushing", {"gripper": gripper, "gripper_opening": 0.4})
    assert tuple(task.opening(action) for action in (-1.0, 0.0, 1.0)) == commanded
