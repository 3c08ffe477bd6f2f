"""ROS shells of this package."""
