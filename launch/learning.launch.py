"""The learning side alone: policy, operator, recorder, learner, world model, for a robot that runs elsewhere.

ros2 launch ws_bringup learning.launch.py robot:=a1x task:=pushing
"""

from ws_bringup.launching import describe_launch


def generate_launch_description():
    return describe_launch(("learning",))
