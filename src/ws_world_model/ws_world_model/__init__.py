"""The world model's place: its process exists and follows the rollouts; generation is off."""
