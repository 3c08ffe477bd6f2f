"""A bag that is cut off or has flipped bits is read whole or refused, at once and in bounded memory."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ws_rollouts.bag import BagError, read_episode, write_episode
from ws_rollouts.reader import McapFile, mcap_path
from ws_rollouts.testing import make_episode

LIMIT = 2.0  # s


class Good:
    """A whole bag; a class of its own, so that failing examples do not print its bytes."""

    def __init__(self, folder):
        self.episode = read_episode(folder)
        self.data = mcap_path(folder).read_bytes()


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return Good(write_episode(tmp_path_factory.mktemp("bags"), make_episode(25)))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


def read(folder, data):
    """The episode in `data`, or BagError; never later than LIMIT."""
    (folder / "x.mcap").write_bytes(data)
    start = time.monotonic()
    try:
        return read_episode(folder)
    finally:
        assert time.monotonic() - start < LIMIT


@settings(max_examples=150, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
@example(share=0.999999)
def test_any_cut_is_refused_and_whole_chunks_are_kept(good, scratch, share):
    cut = good.data[: int(share * len(good.data))]
    with pytest.raises(BagError):
        read(scratch, cut)
    if share > 0.5:
        file = McapFile(scratch / "x.mcap")
        assert len(list(file)) > 20
        assert file.damage


@settings(max_examples=300, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_never_changes_an_episode(good, scratch, share, bit):
    episode = good.episode
    broken = bytearray(good.data)
    broken[int(share * len(broken))] ^= 1 << bit
    try:
        result = read(scratch, bytes(broken))
    except BagError:
        return
    for name in ("state", "action", "reward", "stamp"):
        np.testing.assert_array_equal(getattr(result, name), getattr(episode, name))
    for view, frames in episode.frames.items():
        np.testing.assert_array_equal(result.frames[view], frames)
    assert result.notes == episode.notes


@settings(max_examples=100, deadline=None)
@given(spot=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=1, max_size=64))
def test_overwritten_bytes_never_crash(good, scratch, spot, junk):
    broken = bytearray(good.data)
    at = int(spot * len(broken))
    broken[at : at + len(junk)] = junk
    try:
        read(scratch, bytes(broken))
    except BagError as error:
        assert "x.mcap" in str(error)


def test_a_bad_chunk_is_named_and_the_others_are_read(good, scratch):
    data = bytearray(good.data)
    data[len(data) // 3] ^= 1
    (scratch / "x.mcap").write_bytes(data)
    file = McapFile(scratch / "x.mcap")
    assert len(list(file)) > 20
    assert file.damage[0].startswith("chunk that ends at byte")


def test_a_chunk_that_claims_to_be_huge_takes_no_memory(good, tmp_path):
    """A small chunk that would unpack to a GiB, read by a process that may take 256 MiB more."""
    program = f"""
import resource, struct, sys
from pathlib import Path
import zstandard
from ws_rollouts.bag import BagError, read_episode
folder = Path({str(tmp_path)!r})
bomb = zstandard.compress(bytes(1 << 30))
chunk = struct.pack("<QQQI", 0, 1, 1 << 30, 0) + struct.pack("<I", 4) + b"zstd" + struct.pack("<Q", len(bomb)) + bomb
magic = bytes([0x89]) + b"MCAP0" + bytes([13, 10])
header = struct.pack("<BQ", 1, 8) + bytes(8)
(folder / "x.mcap").write_bytes(magic + header + struct.pack("<BQ", 6, len(chunk)) + chunk)
del bomb, chunk
used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
try:
    read_episode(folder)
except BagError as error:
    print("refused", error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
                            env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
    assert "refused" in result.stdout, result.stderr
    assert "1073741824" in result.stdout
