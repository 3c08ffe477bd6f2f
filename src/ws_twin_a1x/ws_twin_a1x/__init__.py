"""MuJoCo twin of the Galaxea A1X: physics, two simulated RealSense cameras, task scenes. Cores know no ROS."""

import os

# llvmpipe's own threads would only take the learner's core
os.environ.setdefault("LP_NUM_THREADS", "0")
