"""The driver of the Galaxea A1X: kinematics, locked target, jerk-limited motion, safety relay. Cores know no ROS."""
