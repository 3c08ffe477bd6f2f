"""python -m ws_bringup: the same as the command `worldsample`."""

from ws_bringup.cli import script

script()
