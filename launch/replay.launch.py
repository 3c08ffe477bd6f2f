"""Plays a recorded episode back onto its topics.

ros2 launch ws_bringup replay.launch.py bag:=runs/pushing/bags/<episode> launch_rviz:=true
"""

from launch.actions import DeclareLaunchArgument, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription
from ws_bringup.environment import share


def generate_launch_description():
    replay = Node(
        package="ws_rollouts",
        executable="replay",
        parameters=[{
            "bag": ParameterValue(LaunchConfiguration("bag"), value_type=str),
            "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
            "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
        }],
        output="both",
        on_exit=Shutdown(),
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(share("rviz", "worldsample.rviz"))],
        condition=IfCondition(LaunchConfiguration("launch_rviz")),
    )
    choices = ["true", "false"]
    return LaunchDescription([
        DeclareLaunchArgument("bag", description="folder of the bag"),
        DeclareLaunchArgument("rate", default_value="1.0", description="speed; 1 is as recorded"),
        DeclareLaunchArgument("loop", default_value="false", choices=choices, description="begin again at the end"),
        DeclareLaunchArgument("launch_rviz", default_value="false", choices=choices, description="start rviz2 too"),
        replay,
        rviz,
    ])
