from setuptools import find_packages, setup

PACKAGE = "ws_twin_a1x"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    package_data={PACKAGE: ["models/*.xml"]},
    zip_safe=True,
    license="Apache-2.0",
    description="MuJoCo twin of the Galaxea A1X with two simulated RealSense cameras, behind the vendor topics.",
    entry_points={"console_scripts": ["twin = ws_twin_a1x.nodes.twin_node:main"]},
)
