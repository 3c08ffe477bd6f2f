from setuptools import find_packages, setup

PACKAGE = "ws_policy"

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
    description="Policy networks and the policy node: episodes, interventions, weight swap at control rate.",
    entry_points={"console_scripts": [
        "policy = ws_policy.nodes.policy_node:main",
        "operator = ws_policy.nodes.operator_node:main",
    ]},
)
