"""Writes docs/parameters.md from the option dataclasses: every parameter that a node declares, every launch argument.

python scripts/parameters_page.py    (in the built environment; a test fails when the page is out of date)
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import math
from collections.abc import Iterator
from pathlib import Path

from ws_bringup.settings import Settings
from ws_rollouts.task import Handling, Task

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "parameters.md"
HEAD = """# Parameters

Written by `scripts/parameters_page.py` from the dataclasses that declare them; edit those, not this page.

Every node parameter is read-only: it is read once at the start, checked for type and range, and described
(`ros2 param describe`). A wrong or unknown one ends the node with an error that names it. Give them in a parameter
file, `params_file:=my.yaml` (see [usage](usage.md#parameters)). Parameters that the graph sets itself (`task`, `seed`,
`run_dir`, ...) are in `runs/<name>/params/`.
"""
LAUNCH = """## Launch arguments

For `make run ARGS="key:=value ..."`, `worldsample run key:=value` and `ros2 launch ws_bringup worldsample.launch.py`;
`minutes`, `evaluation_minutes`, `evaluation_episodes` and `headless` are not for `ros2 launch`.
"""
TASK = """## Task files

Entries of `src/ws_rollouts/ws_rollouts/tasks/<task>.yaml`; frame `base_link`, the controlled point is `gripper_link`.
"""


def declarations(module_file: Path) -> Iterator[tuple[str, str]]:
    """(name of a dataclass, prefix) for each `declare(self, Class, "prefix")` in a node's file."""
    for call in ast.walk(ast.parse(module_file.read_text())):
        if not isinstance(call, ast.Call) or not call.args[1:]:
            continue
        if (getattr(call.func, "id", None) or getattr(call.func, "attr", None)) == "declare":
            yield call.args[1].id, call.args[2].value if call.args[2:] else ""


def find_class(module_name: str, module_file: Path, class_name: str) -> type:
    """A class of a node's module, or one that it imports in a function."""
    for statement in ast.walk(ast.parse(module_file.read_text())):
        if isinstance(statement, ast.ImportFrom) and any(alias.name == class_name for alias in statement.names):
            module_name = statement.module
    return getattr(importlib.import_module(module_name), class_name)


def node_modules() -> Iterator[tuple[str, Path]]:
    """(module, file) of every node in the source tree."""
    for file in sorted((ROOT / "src").glob("*/*/nodes/*.py")):
        yield ".".join(file.relative_to(ROOT / "src").with_suffix("").parts[1:]), file


def table(rows: list[tuple[str, dataclasses.Field]]) -> str:
    """A Markdown table of options by name, in the order of their declaration."""
    lines = ["| name | default | unit | allowed | what it is |", "|---|---|---|---|---|"]
    for name, field in rows:
        meta = field.metadata
        description = meta["description"].replace("|", "\\|")
        lines.append(f"| `{name}` | {_value(field.default)} | {meta['unit']} | {_allowed(field)} | {description} |")
    return "\n".join(lines) + "\n"


def _value(value) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{v:g}" for v in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else ""


def _allowed(field: dataclasses.Field) -> str:
    meta = field.metadata
    if isinstance(field.default, bool):
        return "true, false"
    if meta["choices"]:
        return ", ".join(meta["choices"])
    low, high = meta["low"], meta["high"]
    return f"{low:.10g} to {high:.10g}" if math.isfinite(low) and math.isfinite(high) else ""


def page() -> str:
    """The whole page."""
    parts = [HEAD, LAUNCH, table([(f.name, f) for f in dataclasses.fields(Settings)])]
    for module_name, file in node_modules():
        rows = []
        for class_name, prefix in declarations(file):
            cls = find_class(module_name, file, class_name)
            rows += [(prefix + f.name, f) for f in dataclasses.fields(cls)]
        if rows:
            parts += [f"## {file.stem.removesuffix('_node')} ({module_name.split('.')[0]})\n", table(rows)]
    rows = [(f.name, f) for f in dataclasses.fields(Task) if f.name != "handling"]
    parts += [TASK, table(rows + [(f"handling.{f.name}", f) for f in dataclasses.fields(Handling)])]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE}: {len(PAGE.read_text().splitlines())} lines")
