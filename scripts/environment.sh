# Sourced, not run: activates the virtual environment and the built workspace.
# Usage: . scripts/environment.sh [VENV]
_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
_venv=$(cd "$_root" && cd "${1:-.venv}" && pwd) || return 1
if [ -z "${ROS_DISTRO:-}" ]; then
    unset PYTHONPATH AMENT_PREFIX_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE # may come from another environment
fi
export VIRTUAL_ENV=$_venv PATH="$_venv/bin:$PATH"
set -- # the setup file reads arguments
. "$_root/install/setup.bash"
unset _root _venv
