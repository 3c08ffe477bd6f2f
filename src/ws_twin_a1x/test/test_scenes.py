"""The tasks' scenes: what counts as done and what does not, made by hand; and that things stay where they are put."""

import numpy as np
import pytest

from ws_rollouts.task import load_task, task_names
from ws_twin_a1x.scenes import SCENES
from ws_twin_a1x.scenes.objects import put, put_turned
from ws_twin_a1x.twin import Twin

HANDLED = [name for name in task_names() if load_task(name).handling.thing]
DOWN = (0.7071068, 0.0, 0.7071068, 0.0)  # quaternion of a tool, and of what it holds, that points down


@pytest.fixture
def make_twin():
    twins = []

    def make(name, seed=0, hold=0.0):
        twins.append(Twin(load_task(name, {"success_hold": hold}), seed))
        return twins[-1]

    yield make
    for twin in twins:
        twin.close()


def at(twin, name):
    return twin.object_poses()[name][0]


def settle(twin):
    """Let what was put somewhere be seen by the success test, without time going on."""
    twin._settle()
    return twin


def away(twin):
    """Fingers out of the way of everything."""
    twin.place_arm(np.array([1.2, 1.2, -1.0, 0.9, 0, 0]))
    return twin


def test_every_scene_has_a_task_and_every_task_a_scene():
    assert set(SCENES) == {load_task(name).scene for name in task_names()}


@pytest.mark.parametrize("name", HANDLED)
def test_the_operators_things_are_there(make_twin, name):
    how, poses = load_task(name).handling, make_twin(name).object_poses()
    assert how.thing in poses and (not how.goal or how.goal in poses)


@pytest.mark.parametrize(("overrides", "reason"), [
    ({"handling": {"thing": "banan"}}, "handling: thing = 'banan': must be one of banana"),
    ({"handling": {"goal": "bin"}}, "handling: goal = 'bin'"),
    ({"crop_side": [400, 0, 64, 64]}, "crop_side = .*leaves the frame of 424x240"),
    ({"scene": "kitchen"}, "scene = 'kitchen'"),
])
def test_a_task_that_does_not_fit_its_scene_is_refused(overrides, reason):
    with pytest.raises(ValueError, match=reason):
        Twin(load_task("sorting", overrides))


@pytest.mark.parametrize("name", task_names())
def test_nothing_is_done_at_the_start_and_nothing_moves_by_itself(make_twin, name):
    twin = make_twin(name)
    for seed in range(3):
        twin.reset_world(seed)
        before = twin.object_poses()
        for _ in range(10):
            assert not twin.success() and twin.progress() < 0.4
            twin.step(0.1)
        for thing, (position, _) in twin.object_poses().items():
            assert np.linalg.norm(position - before[thing][0]) < 0.002, (seed, thing)


@pytest.mark.parametrize("name", HANDLED)
def test_the_seed_alone_says_where_things_are(make_twin, name):
    one, other = make_twin(name, 0), make_twin(name, 1)
    other.reset_world()
    other.step(0.2)
    places = []
    for twin in (one, other):
        twin.place_arm(np.array(load_task(name).reset_joints))
        twin.reset_world(7)
        places.append(twin.object_poses())
    for thing in places[0]:
        np.testing.assert_array_equal(places[0][thing][0], places[1][thing][0])
    one.reset_world(8)
    thing = "hole" if name == "insertion" else load_task(name).handling.thing
    assert np.linalg.norm(at(one, thing) - places[0][thing][0]) > 0.001


def test_things_that_slept_move_as_if_they_had_not(make_twin):
    """Whatever was before a reset, what follows is the same to the last bit."""
    played = []
    for rest in (0.0, 1.0):
        twin = make_twin("sorting")
        twin.step(rest)
        away(twin).reset_world(7)
        twin.data.joint("bun").qvel[:3] = 0.2, 0.1, 0.5
        twin.step(0.5)
        played.append(twin.data.qpos.copy())
    np.testing.assert_array_equal(*played)


def test_a_thing_that_sleeps_wakes_when_it_is_touched(make_twin):
    twin = away(make_twin("sorting"))
    twin.reset_world(7)
    twin.step(1.0)
    before = at(twin, "waffle").copy()
    put(twin.data, "banana", before + (0, 0, 0.06))
    twin.step(1.0)
    assert np.linalg.norm(at(twin, "waffle") - before) > 1e-4
    twin.step(1.0)
    assert (twin.data.tree_asleep[1:] >= 0).all(), "and all come to rest again"


def test_a_restored_twin_knows_who_slept(make_twin):
    twin = away(make_twin("sorting"))
    twin.reset_world(7)
    twin.step(0.3)
    put(twin.data, "bun", at(twin, "bun") + (0, 0, 0.01))  # awake; the waffle is not
    twin.step(0.005)
    state, played = twin.snapshot(), []
    for _ in range(2):
        twin.step(0.3)
        played.append((twin.data.qpos.copy(), twin.data.tree_asleep.copy()))
        twin.reset_world(8)
        twin.restore(state)
    for first, again in zip(*played, strict=True):
        np.testing.assert_array_equal(first, again)


def test_the_peg_stays_in_a_hand_that_moves(make_twin):
    twin = make_twin("insertion")
    hand = twin.model.body("gripper_link").id
    gap = [np.linalg.norm(at(twin, "peg") - twin.data.xpos[hand])]
    for turn in (0.2, -0.2):
        twin.command_arm(np.array(load_task("insertion").reset_joints) + [turn, 0.1, 0, 0, 0, 0], [3.0] * 6)
        twin.step(1.0)
        gap.append(np.linalg.norm(at(twin, "peg") - twin.data.xpos[hand]))
    assert np.ptp(gap) < 0.001


@pytest.mark.parametrize("offset, done", [
    ((0, 0, -0.028), True), ((0, 0, -0.0225), True), ((0, 0, -0.0215), False), ((0, 0, 0), False),
    ((0.012, 0, -0.028), False),
])
def test_insertion(make_twin, offset, done):
    twin = away(make_twin("insertion"))
    put_turned(twin.data, "peg", at(twin, "hole") + offset + np.array([0, 0, 0.051]), DOWN)
    assert settle(twin).success() is done
    assert (twin.progress() == 1.0) is done


@pytest.mark.parametrize("offset, done", [
    ((0, 0, 0.027), True), ((0.049, 0, 0.027), True), ((0.051, 0, 0.027), False), ((0, 0, 0.042), False),
    ((0, 0.15, 0.021), False),
])
def test_pick_and_place(make_twin, offset, done):
    twin = away(make_twin("pick_place"))
    put(twin.data, "eggplant", at(twin, "plate") + offset)
    assert settle(twin).success() is done


def test_an_eggplant_on_the_plate_that_is_still_held_does_not_count(make_twin):
    twin = away(make_twin("pick_place"))
    put(twin.data, "eggplant", at(twin, "plate") + np.array([0, 0, 0.027]))
    assert settle(twin).success()
    finger = twin.data.body("gripper_finger_link1").xpos
    twin.data.mocap_pos[twin.model.body("plate").mocapid[0]] = finger - (0, 0, 0.027)
    put(twin.data, "eggplant", finger)
    settle(settle(twin))
    assert not twin.success()


@pytest.mark.parametrize(("name", "thing", "goal", "offset"), [
    ("pick_place", "eggplant", "plate", (0, 0, 0.027)), ("assembly", "red_ring", "goal_peg", (0, 0, -0.033)),
])
def test_what_only_comes_by_does_not_count(make_twin, name, thing, goal, offset):
    twin = away(make_twin(name))
    put(twin.data, thing, at(twin, goal) + offset)
    assert settle(twin).success()
    twin.data.joint(thing).qvel[:3] = 0.3, 0, 0
    assert not settle(twin).success()


def test_what_must_last_counts_once_it_has_lasted(make_twin):
    twin = away(make_twin("pick_place", hold=0.3))
    on_plate = at(twin, "plate") + (0, 0, 0.027)

    def lay(lasting):
        """Success after each 0.05 s."""
        put(twin.data, "eggplant", on_plate)
        settle(twin)
        seen = []
        for _ in range(round(lasting / 0.05)):
            twin.step(0.05)
            seen.append(twin.success())
        return seen

    assert lay(0.4) == [False] * 5 + [True] * 3
    put(twin.data, "eggplant", on_plate + (0, 0.15, 0))
    settle(twin).step(0.05)
    assert not twin.success()
    lay(0.2)
    state = twin.snapshot()
    twin.reset_world(3)
    twin.restore(state)
    twin.step(0.05)
    assert not twin.success()
    twin.step(0.05)
    assert twin.success(), "a restored twin knows how long it has lasted"


@pytest.mark.parametrize("raised, done", [
    ({"banana": 0.055}, True), ({"banana": 0.045}, False), ({}, False), ({"waffle": 0.06}, False),
    ({"banana": 0.06, "bun": 0.02}, False), ({"banana": 0.06, "waffle": 0.02}, False),
    ({"banana": 0.06, "bun": 0.009}, True), ({"banana": 0.06, "waffle": 0.011}, False),
])
def test_sorting(make_twin, raised, done):
    twin = away(make_twin("sorting"))
    for thing, height in raised.items():
        put(twin.data, thing, at(twin, thing) + (0, 0, height))
    assert settle(twin).success() is done


@pytest.mark.parametrize("thing, offset, done", [
    ("red_ring", (0, 0, -0.033), True), ("red_ring", (0.004, 0, -0.028), True), ("red_ring", (0, 0, -0.020), False),
    ("red_ring", (0, 0, -0.0275), True), ("red_ring", (0, 0, -0.0265), False),
    ("red_ring", (0.03, 0, -0.033), False), ("red_ring", (0, 0, 0.01), False), ("yellow_ring", (0, 0, -0.033), False),
])
def test_assembly(make_twin, thing, offset, done):
    twin = away(make_twin("assembly"))
    put(twin.data, thing, at(twin, "goal_peg") + offset)
    assert settle(twin).success() is done


def test_a_ring_that_is_still_held_does_not_count(make_twin):
    twin = make_twin("assembly")
    finger = twin.data.body("gripper_finger_link1").xpos
    twin.data.mocap_pos[twin.model.body("board").mocapid[0]] += finger - at(twin, "goal_peg") + (0, 0, 0.033)
    put(twin.data, "red_ring", finger)
    settle(settle(twin))
    assert np.linalg.norm(at(twin, "red_ring") - at(twin, "goal_peg") - (0, 0, -0.033)) < 1e-6
    assert not twin.success()


@pytest.mark.parametrize(("pressed", "done"), [(0.0340, False), (0.0344, True)])
def test_pushing(make_twin, pressed, done):
    twin = away(make_twin("pushing"))
    twin.data.joint("lever").qpos[0] = pressed
    twin._scene.update(twin.model, twin.data)  # the latch, without the spring that would push it up first
    assert twin.success() is done


def test_a_ring_on_the_wrong_peg_does_not_count(make_twin):
    twin = away(make_twin("assembly"))
    far = at(twin, "yellow_ring").copy()
    put(twin.data, "yellow_ring", far + (0, 0.1, 0))
    put(twin.data, "red_ring", far)
    assert not settle(twin).success()
