from setuptools import find_packages, setup

PACKAGE = "ws_driver_a1x"
URDF = f"{PACKAGE}/urdf/a1x.urdf.xacro"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={PACKAGE: ["urdf/*.xacro"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/urdf", [URDF]),
    ],
    zip_safe=False,
    license="Apache-2.0",
    description="Galaxea A1X: robot description, kinematics and the safety relay in front of the arm.",
    entry_points={"console_scripts": ["driver = ws_driver_a1x.nodes.driver_node:main"]},
)
