from dataclasses import replace

import numpy as np
import pytest

from ws_policy.intake import WeightsIntake
from ws_policy.weights import architecture, pack


class Runtime:
    """What the intake needs of a PolicyRuntime."""

    def __init__(self):
        self.architecture, self.version, self.loaded = architecture(tensors()), 0, None

    def load(self, values, version):
        self.version, self.loaded = version, values


def tensors(value=1.0, **more):
    return {"w": np.full((4, 3), value, np.float32), "b": np.zeros(3, np.float32)} | more


@pytest.fixture
def intake():
    intake = WeightsIntake(Runtime(), max_bytes=10_000)
    assert intake.take(pack(tensors(), "a", 1, 10)) == ""
    return intake


def test_newer_weights_are_loaded(intake):
    assert intake.take(pack(tensors(2.0), "a", 2, 20)) == ""
    assert intake.version == 2 and intake._runtime.loaded["w"][0, 0] == 2.0


@pytest.mark.parametrize("packet, reason", [
    (pack(tensors(), "a", 1, 10), "not newer"),
    (replace(pack(tensors(), "a", 2, 10), data=b"x" * 300), "length"),
    (pack(tensors(np.nan), "a", 2, 10), "finite"),
    (pack(tensors(more=np.zeros(1, np.float32)), "a", 2, 10), "architecture"),
    (pack({"w": np.zeros((1000, 10), np.float32)}, "a", 2, 10), "allowed"),
])
def test_bad_weights_are_refused_and_the_old_ones_stay(intake, packet, reason):
    assert reason in intake.take(packet)
    assert (intake.version, intake.session, intake.rejected) == (1, "a", 1)
    assert intake._runtime.loaded["w"][0, 0] == 1.0


def test_every_flipped_byte_is_refused(intake):
    packet = pack(tensors(3.0), "a", 2, 20)
    for i in range(len(packet.data)):
        flipped = bytearray(packet.data)
        flipped[i] ^= 1 << (i % 8)
        assert intake.take(replace(packet, data=bytes(flipped)))
    assert intake.version == 1


def test_a_new_session_starts_afresh_and_the_old_one_never_comes_back(intake):
    assert intake.take(pack(tensors(2.0), "a", 7, 20)) == ""
    assert intake.take(pack(tensors(3.0), "b", 1, 5)) == ""
    assert "replaced" in intake.take(pack(tensors(4.0), "a", 8, 30))
    assert (intake.version, intake.session) == (1, "b")
