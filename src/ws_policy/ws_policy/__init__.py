"""The policy as it runs: observations, networks, episodes, interventions. Cores know no ROS."""
