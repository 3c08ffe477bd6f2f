"""ROS 2 shell of the driver."""
