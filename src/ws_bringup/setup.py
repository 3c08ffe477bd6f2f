from glob import glob

from setuptools import find_packages, setup

PACKAGE = "ws_bringup"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.py")),
        (f"share/{PACKAGE}/config", glob("config/*")),
        (f"share/{PACKAGE}/rviz", glob("rviz/*.rviz")),
        ("bin", ["bin/worldsample"]),  # on PATH once the workspace is sourced
    ],
    zip_safe=True,
    license="Apache-2.0",
    description="Configuration, the graph to start, command line, evaluation and lockstep experiments.",
    entry_points={
        "console_scripts": [
            "worldsample = ws_bringup.cli:script",
            "monitor = ws_bringup.nodes.monitor:main",
        ]
    },
)
