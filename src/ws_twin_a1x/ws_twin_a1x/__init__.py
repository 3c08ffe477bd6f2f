"""MuJoCo twin of the Galaxea A1X: the physics, two simulated RealSense cameras and the task scenes. Cores know no ROS."""

import os

# Before MuJoCo is imported: render without a display, and without llvmpipe threads on the learner's core.
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")
