from setuptools import find_packages, setup

PACKAGE = "ws_world_model"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    zip_safe=True,
    license="Apache-2.0",
    description="Learned world model: counterfactual, reward-labelled rollouts from recorded ones.",
    entry_points={
        "console_scripts": [
            "success_detector = ws_world_model.nodes.success_detector_node:main",
            "world_model = ws_world_model.nodes.world_model_node:main",
        ]
    },
)
