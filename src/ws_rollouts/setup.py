from setuptools import find_packages, setup

PACKAGE = "ws_rollouts"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={PACKAGE: ["tasks/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    install_requires=["setuptools", "numpy", "pyyaml", "mcap", "rosbags", "zstandard"],
    zip_safe=False,
    license="Apache-2.0",
    description="What a rollout is: task, episode schema, bag writer and reader, recorder.",
    entry_points={
        "console_scripts": [
            "recorder = ws_rollouts.nodes.recorder_node:main",
            "replay = ws_rollouts.nodes.replay_node:main",
        ]
    },
)
