"""The robot side alone: the twin, or cameras and driver of the real arm. It waits for nothing of the learning side.

ros2 launch ws_bringup robot.launch.py robot:=a1x
"""

from ws_bringup.launching import describe_launch


def generate_launch_description():
    return describe_launch(("robot", "view"))
