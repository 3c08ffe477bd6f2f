"""An episode survives a bag unchanged, and a bag that cannot be used is refused by name and reason."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ws_rollouts import messages
from ws_rollouts.bag import BagError, read_episode, serialised, write_episode
from ws_rollouts.catalog import finished
from ws_rollouts.schema import IMAGE_TYPE, STEP_TYPE, Topic
from ws_rollouts.summary import Summary
from ws_rollouts.task import load_task
from ws_rollouts.testing import begin_bag, make_episode
from ws_rollouts.writer import BagWriter


def assert_same(one, other):
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        for x, y in zip(a.values(), b.values(), strict=True) if field.name in ("frames", "exposed") else [(a, b)]:
            if isinstance(x, np.ndarray):
                assert x.dtype == y.dtype
                np.testing.assert_array_equal(x, y, err_msg=field.name)
            else:
                assert x == y, field.name


def write_messages(bags, parts, episode):
    """A bag of hand-made messages: (absolute topic, CDR, stamp)."""
    return begin_bag(bags, episode, parts).finish(Summary.of(episode).notes())


def edited(episode, msgtype, edit):
    """The episode's messages with `edit(index, message)` applied to those of one type; None drops a message."""
    counts = {}
    for name, raw, stamp in serialised(episode):
        index = counts[name] = counts.get(name, -1) + 1
        if (STEP_TYPE if name.endswith("step") else IMAGE_TYPE) == msgtype:
            message = edit(index, messages.decode(raw, msgtype))
            if message is None:
                continue
            raw = messages.encode(message)
        yield name, raw, stamp


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.integers(1, 12), size=st.sampled_from([16, 33, 64]), action_size=st.integers(2, 7),
    outcome=st.sampled_from(["success", "failure", "timeout", "aborted"]), demonstration=st.booleans(),
    notes=st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=20), max_size=3),
    seed=st.integers(0, 1000),
)
def test_round_trip(tmp_path_factory, steps, size, action_size, outcome, demonstration, notes, seed):
    bags = tmp_path_factory.mktemp("bags")
    episode = make_episode(steps, size=size, action_size=action_size, outcome=outcome, demonstration=demonstration,
                           seed=seed)
    episode.notes = {f"note_{key}": value for key, value in notes.items()}
    folder = write_episode(bags, episode, extra={"generator": "world model 7"})
    episode.notes["generator"] = "world model 7"
    assert_same(episode, read_episode(folder))
    [summary], errors = finished(bags)
    assert not errors
    assert (summary.outcome, summary.steps, summary.uri) == (outcome, steps, str(folder))
    assert summary.bytes == (folder / f"{episode.episode_id}_0.mcap").stat().st_size


def test_an_episode_is_never_overwritten(tmp_path):
    write_episode(tmp_path, make_episode())
    with pytest.raises(BagError, match="there already"):
        write_episode(tmp_path, make_episode(seed=1))
    assert_same(make_episode(), read_episode(tmp_path / make_episode().episode_id))


@pytest.mark.parametrize("episode_id", ["../out", "", ".hidden", "a/b", "x" * 300, "nul\0"])
def test_an_id_that_is_no_folder_name_is_refused(tmp_path, episode_id):
    with pytest.raises(BagError, match="episode_id"):
        write_episode(tmp_path / "bags", make_episode(episode_id=episode_id))
    assert not (tmp_path / "bags").exists()


def test_a_namespace_before_the_topics_changes_nothing(tmp_path):
    episode = make_episode()
    assert_same(episode, read_episode(begin_bag(tmp_path, episode, namespace="/cell_3").finish({})))


def test_the_task_is_checked(tmp_path):
    task = load_task("pushing")
    folder = write_episode(tmp_path, make_episode(episode_id="fits", size=task.image_size))
    read_episode(folder, task)
    for name, changes, reason in [
        ("name", {"task": "other"}, "of task 'other'"),
        ("actions", {"action_size": 3}, "3 numbers"),
        ("images", {"size": task.image_size // 2}, "frames are"),
    ]:
        with pytest.raises(BagError, match=reason):
            read_episode(write_episode(tmp_path, make_episode(episode_id=name, **changes)), task)


def set_field(name, value):
    def edit(episode):
        getattr(episode, name)[3] = value
    return edit


@pytest.mark.parametrize(("edit", "reason"), [
    (set_field("state", np.nan), "state of step 3 is not finite"),
    (set_field("action", np.inf), "action of step 3 is not finite"),
    (set_field("executed", np.nan), "executed of step 3 is not finite"),
    (set_field("reward", np.nan), "reward of step 3 is not finite"),
    (set_field("action", 2.0), "outside"),
    (set_field("source", 9), "source 9"),
    (set_field("stamp", 1_600_000_000_000_000_000), "stamp of step 3"),
    (lambda e: setattr(e, "state", e.state[:, :5]), "state of step 0 has 5 numbers, not 13"),
    (lambda e: setattr(e, "executed", e.executed[:, :1]), "executed of step 0 has 1 numbers, not 3"),
    (lambda e: setattr(e, "frames", {v: f[:, :32] for v, f in e.frames.items()}), "size 64x32, must be square"),
])
def test_numbers_that_cannot_be_right_are_refused(tmp_path, edit, reason):
    episode = make_episode()
    edit(episode)
    folder = write_episode(tmp_path, episode)
    with pytest.raises(BagError, match=reason) as error:
        read_episode(folder)
    assert str(folder) in str(error.value)


def changed(**fields):
    return lambda index, message: dataclasses.replace(message, **fields) if index == 3 else message


@pytest.mark.parametrize(("msgtype", "edit", "reason"), [
    (STEP_TYPE, lambda i, m: None if i == 3 else m, "step 3 is missing"),
    (STEP_TYPE, lambda i, m: None, "no steps"),
    (STEP_TYPE, lambda i, m: m if i == 0 else None, "no action"),
    (STEP_TYPE, changed(episode_id="other"), "step 3 is of other"),
    (STEP_TYPE, changed(terminated=True), "goes on after step 3"),
    (IMAGE_TYPE, lambda i, m: None if i == 3 else m, "step 3 has no frame"),
    (IMAGE_TYPE, lambda i, m: m if "side" in m.header.frame_id else None, "no frames on policy/wrist"),
    (IMAGE_TYPE, changed(encoding="bgr8"), "encoding 'bgr8'"),
    (IMAGE_TYPE, changed(width=63), "63x64"),
    (IMAGE_TYPE, changed(data=np.zeros(7, np.uint8)), "7 bytes"),
])
def test_messages_that_do_not_make_an_episode_are_refused(tmp_path, msgtype, edit, reason):
    episode = make_episode()
    folder = write_messages(tmp_path, edited(episode, msgtype, edit), episode)
    with pytest.raises(BagError, match=reason):
        read_episode(folder)


def test_an_aborted_episode_keeps_the_steps_that_have_their_frames(tmp_path):
    episode = make_episode(10, outcome="aborted")
    seen = [part for part in serialised(episode) if "wrist" not in part[0] or part[2] < episode.stamp[8]]
    read = read_episode(write_messages(tmp_path, seen, episode))
    assert (len(read), read.outcome) == (7, "aborted")
    np.testing.assert_array_equal(read.action[:7], episode.action[:7])
    assert not read.action[7].any()


def test_foreign_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(BagError, match="no such bag"):
        read_episode(tmp_path / "nothing")
    with pytest.raises(BagError, match="0 .mcap files"):
        read_episode(tmp_path)
    for name, content, reason in [("empty", b"", "empty file"), ("foreign", b"SQLite format 3\0" * 9, "no MCAP"),
                                  ("short", b"\x89MC", "cut off"), ("header", b"\x89MCAP0\r\n", "cut off")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.mcap").write_bytes(content)
        with pytest.raises(BagError, match=reason):
            read_episode(tmp_path / name)
    summaries, errors = finished(tmp_path)
    assert not summaries
    assert len(errors) == 4


def test_a_bag_of_another_program_is_refused(tmp_path):
    writer = BagWriter(tmp_path, "chatter")
    writer.add_topic(Topic("/chatter", "std_msgs/msg/String"))
    writer.write("/chatter", messages.encode(messages.new("std_msgs/msg/String", data="hello")), 1)
    folder = writer.finish({})
    with pytest.raises(BagError, match="policy/step"):
        read_episode(folder)
    assert "no rollout" in str(finished(tmp_path)[1][0])
