"""Holds the house to its plan: imports point one way, cores know no ROS, nothing is unpickled."""

import ast
import xml.etree.ElementTree as xml
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# A package imports only what stands in an earlier row.
LAYERS = (
    {"ws_interfaces"},
    {"ws_node"},
    {"ws_rollouts"},
    {"ws_twin_a1x", "ws_driver_a1x", "ws_policy"},
    {"ws_world_model"},  # it imagines with the driver's relay and what the policy sees
    {"ws_ppl"},
    {"ws_bringup"},
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
ROS = {
    "rclpy", "ws_interfaces", "builtin_interfaces", "rcl_interfaces", "rosgraph_msgs", "tf2_msgs", "tf2_ros",
    "sensor_msgs", "std_msgs", "std_srvs", "geometry_msgs", "diagnostic_msgs", "cv_bridge", "rosbag2_py",
    "launch", "launch_ros",
}
SHELLS = {  # beside everything in nodes/
    *(f"ws_node/ws_node/{module}.py" for module in ("ros", "polling", "qos", "conversions")),
    "ws_bringup/ws_bringup/launching.py",
}
PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"torch.save", "yaml.unsafe_load", "yaml.full_load", "exec", "eval"}

MODULES = sorted((ROOT / "src").glob("ws_*/ws_*/**/*.py"))
FILES = MODULES + sorted(f for folder in ("launch", "scripts", "benchmarks") for f in (ROOT / folder).glob("*.py"))


def name(file: Path) -> str:
    return str(file.relative_to(ROOT / "src" if file in MODULES else ROOT))


def package(file: Path) -> str:
    return name(file).split("/")[0]


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@cache
def imported(file: Path) -> frozenset[str]:
    """First parts of all modules a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0] if not node.level else package(file))
    return frozenset(found)


def calls(file: Path):
    """(what is called, its keyword arguments as text) for every call in a file."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


def test_every_package_has_its_place():
    assert len(MODULES) > 50
    assert {f.parent.name for f in (ROOT / "src").glob("*/package.xml")} == set(LAYER)


def test_imports_point_one_way():
    wrong = [
        f"{name(file)} imports {other}"
        for file in MODULES
        for other in sorted(imported(file) & LAYER.keys() - {package(file)})
        if LAYER[other] >= LAYER[package(file)]
    ]
    assert not wrong


def test_manifests_name_the_packages_that_are_imported():
    for own in LAYER:
        manifest = xml.parse(ROOT / "src" / own / "package.xml").getroot()
        declared = {element.text for element in manifest if element.tag.endswith("depend")}
        used = set().union(*(imported(f) for f in MODULES if package(f) == own)) & LAYER.keys() - {own}
        assert used <= declared, own


def test_cores_know_no_ros():
    cores = [f for f in MODULES if "nodes" not in f.parts and name(f) not in SHELLS]
    assert not {name(f): imported(f) & ROS for f in cores if imported(f) & ROS}


def test_nothing_is_unpickled():
    for file in FILES:
        assert not imported(file) & PICKLES, name(file)
        for function, keywords in calls(file):
            where = f"{name(file)}: {function}"
            assert function not in FORBIDDEN_CALLS, where
            assert function != "torch.load" or keywords.get("weights_only") == "True", where
            assert keywords.get("allow_pickle", "False") == "False", where


def test_files_are_small_and_say_what_they_are_for():
    for file in FILES:
        lines = file.read_text().splitlines()
        assert len(lines) <= 400, name(file)
        if lines and file.name != "__init__.py":
            assert ast.get_docstring(tree(file)), f"{name(file)}: its first line must say what it is for"
