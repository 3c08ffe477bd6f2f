"""Starts the graph and keeps it up; the command line, lockstep evaluation, and what is kept of a run."""
