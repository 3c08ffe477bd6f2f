"""Points the ROS wheels' CMake files at this Python: they carry the paths of the machine that built them.

Run with the virtual environment's Python after the wheels are installed; running it again changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

BUILDER = r"/opt/python/cp\d+-cp\d+"
REPLACEMENTS = (
    (BUILDER + r"/lib/python3\.\d+/site-packages/numpy/_?core/include", numpy.get_include()),
    (BUILDER + r"/include/python3\.\d+", sysconfig.get_path("include")),
)


def patch(prefix: Path) -> int:
    """Rewrite share/*/cmake/*.cmake below `prefix`; returns how many files changed."""
    changed = 0
    for file in prefix.glob("share/*/cmake/*.cmake"):
        text = new = file.read_text()
        for pattern, path in REPLACEMENTS:
            new = re.sub(pattern, path, new)
        if new != text:
            file.write_text(new)
            changed += 1
    return changed


if __name__ == "__main__":
    print(f"patched {patch(Path(sys.prefix))} CMake files")
