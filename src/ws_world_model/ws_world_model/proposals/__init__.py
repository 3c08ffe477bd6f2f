"""What to imagine: one module for each kind of proposal."""
