"""Demonstrations of the twin are moved to other scenes: kept, drawn and done as the twin itself has them."""

from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ws_bringup.lockstep import Env, ask, play
from ws_bringup.relocation import TwinStage, misplaced, relocated
from ws_policy.operator import ScriptedOperator
from ws_ppl.synthetic import check_synthetic, is_relocated
from ws_rollouts.bag import read_episode, write_episode
from ws_rollouts.episode import DEMONSTRATION, STATE, VIEWS, Episode
from ws_rollouts.task import Task, load_task
from ws_world_model.proposals.relocate import APART, Hand, Places, RelocateOptions, Relocation, relocations
from ws_world_model.proposals.stage import LedTracker, Stage
from ws_world_model.scene.arm import FREE, FreeArm, fit_lag
from ws_world_model.scene.donor import SceneError
from ws_world_model.scene.drawing import STILL, Drawer, Motion, Pose
from ws_world_model.scene.memory import SceneMemory
from ws_world_model.scene.parts import GRASP, PRESS, RELEASE
from ws_world_model.scene.points import Cloud
from ws_world_model.scene.registration import register, turned

pytestmark = pytest.mark.timeout(240)
OPTIONS = RelocateOptions()
COUNTS = {"pushing": 2, "pick_place": 2, "sorting": 1, "assembly": 1, "insertion": 2}  # demonstrations that are shown
ALIKE = 22.0  # dB


@dataclass
class Shown:
    """Demonstrations of one task, how the twin was arranged at the start of each, and what is kept of them."""

    task: Task
    episodes: list[Episode]
    worlds: dict[str, dict]
    poses: list[dict]
    memory: SceneMemory

    @property
    def lag(self):
        return fit_lag(self.task, [(donor.episode, donor.start) for donor in self.memory.donors])

    def stage(self, seed=0):
        made = Stage(self.memory, FreeArm(self.task, self.lag), OPTIONS, seed)
        made.prepare()
        return made

    def relocations(self, count, *seed):
        return islice(relocations(Places(self.task, self.memory.donors, OPTIONS), seed), count)


def show(name, count, seed=0):
    task = load_task(name)
    env, operator = Env(task, seed, rgbd_every=3), ScriptedOperator(task, seed=seed)
    shown = Shown(task, [], {}, [], SceneMemory(task))
    try:
        for number in range(5 * count):
            operator.begin(demonstration=True)
            started = []

            def act(seen, started=started):
                if not started:
                    started.append((env.twin.arrangement(), env.twin.object_poses()))
                return ask(operator, env, seen)

            episode = play(env, act, f"demonstration-{number:03d}", lambda _, action: (action, DEMONSTRATION))
            if episode.success and len(shown.episodes) < count:
                shown.episodes.append(episode)
                shown.worlds[episode.episode_id], poses = started[0]
                shown.poses.append(poses)
                shown.memory.add(episode)
    finally:
        env.close()
    return shown


@pytest.fixture(scope="module")
def shown():
    known = {}

    def get(name):
        if name not in known:
            known[name] = show(name, COUNTS[name])
        return known[name]

    return get


def points_of(body):
    return np.concatenate([cloud.xyz for cloud in body.clouds.values()])


def psnr(pairs):
    """Mean over pairs of frames by view, dB."""
    return {view: np.mean([10 * np.log10(255**2 / np.mean((a[view].astype(float) - b[view]) ** 2)) for a, b in pairs])
            for view in VIEWS}


# what is kept


@pytest.mark.parametrize(("name", "things"), [
    ("pick_place", ("eggplant", "plate")), ("sorting", ("plate",)), ("assembly", ("goal_peg",)),
    ("insertion", ("hole",)),
])
def test_things_are_found_where_the_twin_has_them(shown, name, things):
    for donor, poses in zip(shown(name).memory.donors, shown(name).poses, strict=True):
        assert len(donor.groups) == len(things)
        for thing in things:
            place = poses[thing][0][:2]
            assert min(np.linalg.norm(center - place) for center in donor.centers) < 0.015, thing


def test_the_toaster_is_found_at_the_same_place_of_itself(shown):
    """The cameras see one end of it, with the lever."""
    found = []
    for donor, poses in zip(shown("pushing").memory.donors, shown("pushing").poses, strict=True):
        position, quat = poses["toaster"]
        center, = donor.centers
        found.append(Rotation.from_quat(quat, scalar_first=True).inv().apply([*(center - position[:2]), 0.0])[:2])
    assert np.linalg.norm(found[0] - found[1]) < 0.015 and np.linalg.norm(found, axis=1).max() < 0.05


def test_parts_are_about_the_things_that_they_were_done_to(shown):
    for name, events in {"pushing": [{PRESS}], "sorting": [{GRASP}], "insertion": [{PRESS}],
                         "pick_place": [{GRASP}, {RELEASE}]}.items():
        for donor, poses in zip(shown(name).memory.donors, shown(name).poses, strict=True):
            assert [set(part.events) for part in donor.parts] == events, name
            if name == "pick_place":
                nearest = [min(range(2), key=lambda g: np.linalg.norm(donor.centers[g] - poses[thing][0][:2]))
                           for thing in ("eggplant", "plate")]
                assert donor.part_groups == nearest == [donor.part_groups[0], 1 - donor.part_groups[0]]
    for donor in shown("assembly").memory.donors:
        assert set().union(*(part.events for part in donor.parts)) == {GRASP, RELEASE}


@pytest.mark.parametrize("name", ["pick_place", "sorting", "assembly"])
def test_what_is_carried_is_the_thing(shown, name):
    task = shown(name).task
    for donor, poses in zip(shown(name).memory.donors, shown(name).poses, strict=True):
        body, = donor.bodies
        away = np.linalg.norm(points_of(body) - poses[task.handling.thing][0], axis=1)
        assert body.kind == GRASP and len(away) > 500
        assert (away < 0.08).mean() > 0.95, "most of it"


def test_what_the_hand_holds_from_the_start_stays_with_it(shown):
    for donor in shown("insertion").memory.donors:
        body = next(each for each in donor.bodies if each.group is None)
        local = points_of(body) - body.tool
        assert len(local) > 500 and np.linalg.norm(local[:, :2], axis=1).max() < 0.05
        assert local[:, 2].min() < -0.09, "the peg ends 104 mm below gripper_link"


def test_what_is_pressed_goes_down_with_the_fingertips(shown):
    for donor, poses in zip(shown("pushing").memory.donors, shown("pushing").poses, strict=True):
        body, = donor.bodies
        lever = poses["lever"][0]
        assert body.kind == PRESS and body.top == pytest.approx(lever[2], abs=0.006)
        assert np.linalg.norm(points_of(body)[:, :2] - lever[:2], axis=1).max() < 0.04


# where the cameras are


def off(mount, true, task):
    """By how much the side camera shows what stands in the middle of the workspace at another place, m."""
    middle = np.array([*(np.array(task.workspace_low) + task.workspace_high)[:2] / 2, task.table])
    return np.linalg.norm((mount @ np.linalg.inv(true) @ [*middle, 1.0])[:3] - middle)


@pytest.mark.parametrize(("degrees", "seed"), [(2.0, 0), (2.0, 1), (-3.0, 2)])
def test_a_mount_that_is_off_by_degrees_is_brought_back(shown, degrees, seed):
    given = shown("assembly")
    true, (wrong,) = given.episodes[0].rgbd["side"].mount, misplaced(given.episodes, degrees, seed)
    memory = SceneMemory(given.task)
    memory.add(wrong)
    before, after = off(wrong.rgbd["side"].mount, true, given.task), off(memory.mounts["side"], true, given.task)
    assert len(memory.corrections) == 1 and before > 0.015 and after < 0.5 * before, (before, after)
    assert "mounts corrected, side camera by" in str(memory.corrections[0])


@pytest.mark.parametrize("name", list(COUNTS))
def test_mounts_that_are_right_are_left_as_they_are(shown, name):
    memory = shown(name).memory
    assert not memory.corrections
    assert all(np.array_equal(memory.mounts[view], shown(name).episodes[-1].rgbd[view].mount) for view in VIEWS)


# how it lies


def joined(donor):
    return Cloud.join([*donor.groups[0].values(), *(c for body in donor.bodies for c in body.clouds.values())])


@pytest.mark.parametrize("yaw", [0.0, 0.3, -0.6])
def test_a_known_motion_of_the_toaster_is_found(shown, yaw):
    """Other points of it, as two episodes see them."""
    cloud = joined(shown("pushing").memory.donors[0])
    half = np.random.default_rng(0).permutation(len(cloud)) % 2 == 0
    source, target, center = cloud[half], cloud[~half], cloud.xyz[:, :2].mean(0)
    motion = Motion.about(center, center + (0.03, -0.02), yaw)
    target.xyz = motion(target.xyz.astype(float)).astype(np.float32)
    found = register(source, target)
    assert found.fits and abs(found.yaw - yaw) < np.radians(1.0)
    assert np.linalg.norm(turned(center, found.yaw) + found.shift - center - (0.03, -0.02)) < 0.002


def test_how_a_toaster_turned_between_demonstrations_is_found(shown):
    one, other = shown("pushing").memory.donors
    found = register(joined(one), joined(other))
    (at, q), (there, r) = (poses["toaster"] for poses in shown("pushing").poses)
    turn = Rotation.from_quat(r, scalar_first=True) * Rotation.from_quat(q, scalar_first=True).inv()
    assert found.fits and abs(found.yaw - turn.as_rotvec()[2]) < np.radians(3.0)
    assert np.linalg.norm(turned(at[:2], found.yaw) + found.shift - there[:2]) < 0.01


def test_a_toaster_is_no_plate(shown):
    toaster = joined(shown("pushing").memory.donors[0])
    donor = shown("pick_place").memory.donors[0]
    assert all(not register(toaster, Cloud.join(group.values())).fits for group in donor.groups)


# how it looks


@pytest.mark.parametrize("name", list(COUNTS))
def test_an_episode_drawn_where_it_was_looks_as_it_was(shown, name):
    memory = shown(name).memory
    drawer, links = Drawer(memory), memory.unprojector.links
    for donor, episode in zip(memory.donors, shown(name).episodes, strict=True):
        relocation = Relocation(donor, [STILL] * len(donor.groups), (0,))
        tracker, drawn, first, stream = LedTracker(donor, relocation, memory.reach), [], [], episode.rgbd["side"]
        for step, state in enumerate(episode.state):  # that it is known where the hand closed
            tracker.step = step
            tracker.bodies(state[STATE["position"]].astype(float))
        for stamp, joints, opening in zip(stream.stamp, stream.joints, stream.opening, strict=True):
            steps = np.flatnonzero(episode.exposed["side"] == stamp)
            if not len(steps):
                continue
            pose = Pose(*links.poses(joints, float(opening)), float(opening))
            tracker.step = int(steps[0])
            bodies = tracker.bodies(pose.positions[links.index("gripper_link")])
            true = {view: episode.frames[view][steps[0]] for view in VIEWS}
            drawn.append((true, drawer.draw(donor, relocation.motions, tracker.moment, bodies, pose)))
            first.append((true, {view: episode.frames[view][0] for view in VIEWS}))
        good, naive = psnr(drawn), psnr(first[1:])
        assert all(good[view] > max(ALIKE, naive[view] + 3) for view in VIEWS), (good, naive)


@pytest.mark.parametrize("name", ["pushing", "pick_place", "insertion"])
def test_an_episode_drawn_elsewhere_looks_as_the_twin_looks_there(shown, name):
    given, env = shown(name), Env(shown(name).task, 9)
    try:
        twin = TwinStage(env, given.memory, OPTIONS, given.worlds, given.stage())
        for relocation in given.relocations(3, 0):
            twin.play(relocation)
    finally:
        env.close()
    alike = psnr(twin.compared)
    assert len(twin.compared) > 30 and min(alike.values()) > ALIKE, alike


# how it is done


@pytest.mark.parametrize("name", ["pushing", "sorting"])
def test_the_free_arm_moves_as_the_twins(shown, name):
    given = shown(name)
    arm, gaps = FreeArm(given.task, given.lag), []
    for episode in given.episodes:
        arm.reset(episode.rgbd["side"].joints[0].astype(float), float(episode.state[0, STATE["gripper"]][0]))
        position = episode.state[:, STATE["position"]]
        offset = position[0] - arm.state[STATE["position"]]
        for step in range(FREE):
            state = arm.step(episode.action[step], float(episode.state[step + 1, STATE["gripper"]][0]))
            gaps.append(np.linalg.norm(state[STATE["position"]] + offset - position[step + 1]))
    assert np.mean(gaps) < 0.003


@pytest.mark.parametrize("name", ["pushing", "insertion", "pick_place", "sorting"])
def test_the_twin_itself_succeeds_where_things_were_moved(shown, name):
    given, env = shown(name), Env(shown(name).task, 11, pictures=False)
    try:
        twin = TwinStage(env, given.memory, OPTIONS, given.worlds)
        made = [twin.play(each) for each in given.relocations(10, 1)]
    finally:
        env.close()
    assert sum(each is not None for each in made) == twin.counts["made"] >= 9, twin.counts


@pytest.mark.parametrize("name", list(COUNTS))
def test_what_is_drawn_is_fit_for_the_learner(shown, name, tmp_path):
    given = shown(name)
    stage = given.stage()
    outcomes = [stage.play(each) for each in given.relocations(5, 2)]
    made = [each.episode for each in outcomes if each.episode is not None]
    assert stage.counts["made"] == len(made) >= 4 and stage.counts.total() == 5, stage.counts
    for episode in made:
        check_synthetic(episode, newest=7)
        again = read_episode(Path(write_episode(tmp_path, episode)), given.task)
        check_synthetic(again, newest=7)
        assert is_relocated(again) and again.success and again.notes == episode.notes
    assert {each.reason for each in outcomes if each.episode is None} == set(stage.counts) - {"made"}


def test_the_gripper_closes_then_opens_and_carries_the_thing_over(shown):
    given = shown("pick_place")
    for relocation in given.relocations(6, 3):
        hand, target, events = Hand(relocation, given.task, OPTIONS), np.array([0.245, 0.0, 0.188]), []
        for _ in range(400):
            if hand.over:
                break
            action, done = hand.act(target)
            target = target + done[:-1] * given.task.action_scale
            if action[-1] and (not events or events[-1][0] != action[-1]):
                events.append((float(action[-1]), target))
        assert hand.over and [kind for kind, _ in events] == [-1.0, 1.0]
        for (_, place), part, group in zip(events, relocation.donor.parts, relocation.donor.part_groups, strict=True):
            moved = relocation.motions[group](part.place)
            assert np.linalg.norm(place[:2] - moved[:2]) < 0.03


def test_things_are_moved_apart_from_each_other(shown):
    given = shown("pick_place")
    seen = Counter()
    for relocation in given.relocations(8, 4):
        donor = relocation.donor
        seen[donor.episode.episode_id] += 1
        feet = []
        for group in range(2):
            clouds = [*donor.groups[group].values(),
                      *(c for body in donor.bodies if body.group == group for c in body.clouds.values())]
            points = np.concatenate([c.xyz[c.born == 0][::25] for c in clouds])
            feet.append(relocation.motions[group](points)[:, :2])
        gaps = np.linalg.norm(feet[0][:, None] - feet[1][None], axis=2)
        assert gaps.min() > APART
        assert relocation.motions[0] != relocation.motions[1], "each on its own"
    assert len(seen) == 2, "both demonstrations are moved"


@pytest.mark.parametrize("kind", ["drawn", "oracle"])
def test_relocated_in_lockstep_is_counted_and_repeats(shown, kind):
    given, found = shown("insertion"), []
    for _ in range(2):
        env = Env(given.task, 5, pictures=kind == "oracle")
        try:
            found.append(relocated(kind, env, given.episodes, given.worlds, 2, OPTIONS, 6))
        finally:
            env.close()
    (made, counts), (again, _) = found
    assert len(made) == 2 == counts["relocated_made"] and counts["relocated_steps"] == sum(map(len, made))
    for one, other in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.state, other.state)
        assert all(np.array_equal(one.frames[view], other.frames[view]) for view in VIEWS)


def test_a_grasp_that_never_comes_or_a_camera_that_turned_is_refused(shown):
    given = shown("pick_place")
    episode, memory = given.episodes[0], SceneMemory(given.task)
    action = episode.action.copy()
    action[:, -1] = 0.0
    mount = episode.rgbd["side"].mount.copy()
    mount[:3, :3] = mount[:3, :3] @ Rotation.from_euler("x", 5, degrees=True).as_matrix()
    turned_away = {**episode.rgbd, "side": replace(episode.rgbd["side"], mount=mount)}
    for spoiled, reason in ((replace(episode, action=action), "no skill part"),
                            (replace(episode, rgbd=turned_away), "a mount is off")):
        with pytest.raises(SceneError, match=reason):
            memory.add(spoiled)
    assert memory.refused.total() == 2 and not memory.donors
