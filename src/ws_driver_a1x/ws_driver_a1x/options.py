"""Every limit of the relay, with its default. docs/safety.md says where each number comes from."""

from __future__ import annotations

from dataclasses import dataclass

from ws_node.options import option


@dataclass(frozen=True)
class RelayOptions:
    """Limits between a command and the arm. They may be tightened freely; each range's end is the most we accept."""

    command_period: float = option(0.1, "time that one twist stands for: one message is one step", unit="s",
                                   low=0.01, high=1.0)
    command_timeout: float = option(0.2, "age of the last command at which the arm holds", unit="s", low=0.05, high=1.0)
    feedback_timeout: float = option(0.25, "age of the arm's feedback at which nothing more is sent", unit="s",
                                     low=0.02, high=0.5)
    frozen_frames: int = option(0, "identical feedback frames in a row that mean a dead arm; 0 never (real arm: 40)",
                                low=0, high=10000)
    max_linear_speed: float = option(0.15, "speed of the tool that a command may ask for", unit="m/s",
                                     low=0.01, high=0.25)
    max_angular_speed: float = option(0.5, "turning speed of the tool that a command may ask for", unit="rad/s",
                                      low=0.0, high=1.0)
    max_burst: float = option(0.2, "commands that arrive in a bunch move at most this long's worth of motion", unit="s",
                              low=0.02, high=1.0)
    # The field keeps 10 to 15 mm, with steps of 3 to 5 mm. With steps of 12 mm a lead of 15 mm lets the twin do 3 to 8
    # mm a step, unevenly; 30 mm lets it do 11.5, evenly.
    max_lead: float = option(0.03, "distance of the locked target from the measured tool; bounds a contact's force",
                             unit="m", low=0.002, high=0.05)
    floor: float = option(0.07, "lowest height of gripper_link; fingertips reach 0.078 m further", unit="m",
                          low=0.0, high=1.0)
    ik_position_tolerance: float = option(0.003, "position error at which a solution is refused", unit="m",
                                          low=1e-4, high=0.01)
    ik_rotation_tolerance: float = option(0.02, "rotation error at which a solution is refused", unit="rad",
                                          low=1e-3, high=0.2)
    ik_max_step: float = option(0.3, "joint motion of one command at which it is refused", unit="rad",
                                low=0.05, high=0.5)
    max_condition: float = option(60.0, "condition number of the Jacobian that a command may not worsen beyond",
                                  low=15.0, high=1000.0)
    soft_limit_margin: float = option(3.0, "targets stay this far inside the URDF's joint limits", unit="deg",
                                      low=2.0, high=20.0)
    measured_margin: float = option(3.0, "measured joints may lie this far outside the URDF's limits", unit="deg",
                                    low=2.0, high=10.0)
    linear_acceleration: float = option(1.5, "of the streamed tool, each axis", unit="m/s2", low=0.05, high=5.0)
    linear_jerk: float = option(20.0, "of the streamed tool, each axis", unit="m/s3", low=0.5, high=200.0)
    angular_acceleration: float = option(4.0, "of the streamed tool, each axis", unit="rad/s2", low=0.1, high=15.0)
    angular_jerk: float = option(40.0, "of the streamed tool, each axis", unit="rad/s3", low=1.0, high=500.0)
    joint_speed: tuple[float, ...] = option((1.0, 1.0, 1.0, 1.5, 1.5, 1.5), "of the streamed joints", unit="rad/s",
                                            low=0.05, high=3.0)
    joint_acceleration: float = option(4.0, "of joint moves: reset and hold", unit="rad/s2", low=0.1, high=15.0)
    joint_jerk: float = option(30.0, "of joint moves: reset and hold", unit="rad/s3", low=1.0, high=500.0)
    speed_cap: tuple[float, ...] = option((1.5, 1.5, 1.5, 2.0, 2.0, 2.0), "sent with each target; never zero",
                                          unit="rad/s", low=0.1, high=3.0)
    gripper_interval: float = option(0.6, "least time between two changes of the gripper's target; the newest command "
                                     "waits for it", unit="s", low=0.0, high=5.0)
    reset_speed: float = option(0.6, "of each joint on the way to the reset joints", unit="rad/s", low=0.05, high=0.8)
    reset_tolerance: float = option(0.03, "measured distance of each joint at which a reset is done", unit="rad",
                                    low=0.005, high=0.1)
    reset_settle_speed: float = option(0.05, "measured speed of each joint below which a reset is done", unit="rad/s",
                                       low=0.005, high=1.0)
    reset_timeout: float = option(15.0, "a reset that takes longer ends in hold", unit="s", low=1.0, high=60.0)
    max_lag: float = option(0.3, "a joint this far behind its target for max_lag_time is blocked: hold", unit="rad",
                            low=0.05, high=1.0)
    max_lag_time: float = option(0.3, "see max_lag", unit="s", low=0.05, high=5.0)
    max_tick: float = option(0.05, "longest time that one tick advances the stream, however late it comes", unit="s",
                             low=0.005, high=0.1)


@dataclass(frozen=True)
class DriverOptions(RelayOptions):
    """The above and what belongs to the node."""

    task: str = option("pushing", "task whose workspace and reset joints apply")
    seed: int = option(0, "seed of the jitter around the reset place", low=0, high=2**31 - 1)
    tick_rate: float = option(50.0, "rate of targets, joint states and transforms", unit="Hz", low=25.0, high=200.0)
    max_command_age: float = option(0.25, "a twist stamped longer ago is refused; 0 takes any", unit="s",
                                    low=0.0, high=5.0)
    gripper_feedback: str = option("gripper", "where to read the opening: gripper (hdas/feedback_gripper, 0..100), arm "
                                   "(seventh entry of hdas/feedback_arm, raw rad)", choices=("gripper", "arm"))
    camera_mounts: bool = option(False, "publish where real cameras are mounted; the twin does so itself")
