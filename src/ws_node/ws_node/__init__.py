"""What every node shares: described options (no ROS), and the ROS shell around them in `ros`."""
