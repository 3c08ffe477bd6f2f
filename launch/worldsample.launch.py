"""The whole loop: robot or twin, policy, operator, recorder, learner, world model.

ros2 launch ws_bringup worldsample.launch.py robot:=twin task:=pushing
"""

from ws_bringup.launching import describe_launch


def generate_launch_description():
    return describe_launch()
