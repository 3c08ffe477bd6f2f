"""metadata.yaml has what rosbag2 of Jazzy reads, and other readers open the bag."""

import yaml
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

from ws_rollouts.bag import write_episode
from ws_rollouts.messages import definition, interfaces_folder
from ws_rollouts.testing import make_episode


def test_all_fields_of_version_9(tmp_path):
    episode = make_episode(10)
    episode.notes = {"parent": "0012", "yes": "no"}
    folder = write_episode(tmp_path, episode)
    info = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert list(info) == [
        "version", "storage_identifier", "duration", "starting_time", "message_count", "topics_with_message_count",
        "compression_format", "compression_mode", "relative_file_paths", "files", "custom_data", "ros_distro"]
    assert (info["version"], info["storage_identifier"], info["message_count"]) == (9, "mcap", 33)
    assert info["duration"]["nanoseconds"] == int(episode.stamp[-1] - episode.stamp[0])
    assert info["starting_time"]["nanoseconds_since_epoch"] == int(episode.stamp[0])
    assert info["relative_file_paths"] == [f"{episode.episode_id}_0.mcap"]
    assert (folder / info["relative_file_paths"][0]).is_file()
    assert info["custom_data"]["parent"] == "0012"  # as text, whatever it looks like
    assert info["custom_data"]["yes"] == "no"
    for topic in info["topics_with_message_count"]:
        assert topic["message_count"] == 11
        meta = topic["topic_metadata"]
        assert list(meta) == ["name", "type", "serialization_format", "offered_qos_profiles", "type_description_hash"]
        assert meta["type_description_hash"].startswith("RIHS01_")
        [qos] = meta["offered_qos_profiles"]
        assert (qos["reliability"], qos["durability"], qos["history"]) == ("reliable", "volatile", "keep_last")


def test_other_readers_open_it(tmp_path):
    folder = write_episode(tmp_path, make_episode(10))
    with Reader(folder) as bag:
        assert sorted(bag.topics) == ["/policy/side/image_raw", "/policy/step", "/policy/wrist/image_raw"]
        assert len(list(bag.messages())) == 33
    with next(folder.glob("*.mcap")).open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert all(index.compression == "zstd" for index in summary.chunk_indexes)
        assert {schema.encoding for schema in summary.schemas.values()} == {"ros2msg"}
        assert len(list(reader.iter_messages())) == 33


def test_type_hashes_are_rosidls():
    """The hash of our text equals the one that rosidl computed, where the interfaces are built."""
    generated = [f for f in interfaces_folder().glob("*.json")]
    for path in generated:
        described = yaml.safe_load(path.read_text())
        name = f"ws_interfaces/msg/{path.stem}"
        [digest] = [h["hash_string"] for h in described["type_hashes"] if h["type_name"] == name]
        assert definition(name)[1] == digest
