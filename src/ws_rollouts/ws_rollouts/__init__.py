"""What a rollout is: task, episode, the bag that holds it, and the recorder."""
