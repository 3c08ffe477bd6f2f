#!/usr/bin/env bash
# Builds the workspace with colcon: against the wheels in the virtual environment, or a sourced ROS 2.
# Usage: scripts/build.sh VENV [colcon build arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(cd "$1" && pwd)
shift

base_paths=(src)
if [ -n "${ROS_DISTRO:-}" ] && [ -n "${AMENT_PREFIX_PATH:-}" ]; then
    : # a real ROS 2 is sourced: its own tf2_msgs, its own CMake files
else
    unset PYTHONPATH
    export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv
    base_paths+=(compat)
    "$venv/bin/python" scripts/patch_wheels.py
fi
export PATH="$venv/bin:$PATH"
exec "$venv/bin/colcon" build --symlink-install --base-paths "${base_paths[@]}" --metas colcon.meta \
    --event-handlers console_cohesion- "$@" 2> >(grep -v "any .local_setup" >&2) # wheels have none, and need none
