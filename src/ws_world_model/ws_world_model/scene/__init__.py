"""Scene memory: colored points of what the depth cameras saw, and how they are drawn from any pose."""
