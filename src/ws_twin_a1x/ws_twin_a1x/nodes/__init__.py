"""ROS 2 shell of the twin."""
