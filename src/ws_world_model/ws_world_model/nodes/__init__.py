"""Thin ROS shells around the cores."""
