#!/usr/bin/env bash
# Installs the Debian packages that are missing when run as root; else prints the line that does and stops.
set -euo pipefail
python=${PYTHON:-python3}

# EGL through Mesa renders the twin's cameras without a screen; the compiler builds the message package.
packages=(libegl1 libgl1 libgl1-mesa-dri libgles2 libopengl0 g++ cmake make git)
if ! command -v "$python" >/dev/null; then
    packages+=(python3 python3-venv python3-dev)
else
    "$python" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    "$python" -c 'import os, sysconfig as s; open(os.path.join(s.get_path("include"), "Python.h"))' 2>/dev/null ||
        packages+=(python3-dev)
fi

if ! command -v dpkg-query >/dev/null; then
    echo "Not a Debian system: make sure that what these packages hold is there: ${packages[*]}" >&2
    exit 0
fi
missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

install=(apt-get install -y --no-install-recommends "${missing[@]}")
if [ "$(id -u)" != 0 ]; then
    echo "These Debian packages are missing. Run this line, then make again:" >&2
    echo "  sudo apt-get update && sudo ${install[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
"${install[@]}"
