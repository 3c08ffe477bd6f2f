"""What can be set about the twin. Each option is a described ROS parameter of the node."""

from __future__ import annotations

from dataclasses import dataclass

from ws_node.options import option


@dataclass(frozen=True)
class TwinOptions:
    """Options of the simulated arm and cameras; defaults follow the real arm and the D435i at 424x240x15."""

    shadows: bool = option(False, "render with shadows, reflections and 4x multisampling (about 10 times slower)")
    randomise: float = option(
        0.0, "share of the full camera and light randomisation at each world reset (full: 10 mm, 2 deg, 20 %)", low=0.0, high=1.0
    )
    joint3_offset: float = option(0.0, "zero offset of joint 3's encoder; real arms showed +0.026", unit="rad", low=-0.1, high=0.1)
    acceleration_ratio: float = option(
        1.5, "tracker: acceleration limit over the rated speeds 3,3,3,5,5,5 rad/s", unit="1/s", low=0.1, high=20.0
    )
    # The vendor documents 1.5 for both. A jerk of 1.5 puts the arm 0.45 s behind a 10 Hz stream of 12 mm steps, 15 puts it
    # 0.1 s behind; nobody who streams deltas to the real arm reports the former, and it is unmeasured.
    jerk_ratio: float = option(15.0, "tracker: jerk limit over the rated speeds", unit="1/s^2", low=0.1, high=1000.0)
