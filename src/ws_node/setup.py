from setuptools import find_packages, setup

PACKAGE = "ws_node"

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
    description="What every WorldSample node shares: described parameters, diagnostics, a clean start and end.",
    entry_points={"console_scripts": []},
)
