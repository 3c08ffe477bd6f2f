"""Looks at a running graph: rviz2 with the robot, its frames and both cameras.

ros2 launch ws_bringup view.launch.py
"""

from ws_bringup.launching import describe_launch


def generate_launch_description():
    return describe_launch(("view",), launch_rviz=True)
