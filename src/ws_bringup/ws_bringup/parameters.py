"""The parameter file of each process: the graph's own values with the user's file laid over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def load_params_file(path: str) -> dict[str, dict[str, Any]]:
    """Read a ROS parameter file: node pattern -> flat parameters. Raises ValueError that names what is wrong."""
    try:
        content = yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"params_file {path}: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"params_file {path}: must map node names to ros__parameters")
    return dict(_entries(path, content, ""))


def _entries(path: str, content: dict, prefix: str):
    for key, value in content.items():
        if not isinstance(value, dict):
            raise ValueError(f"params_file {path}: {prefix}{key} = {value!r} stands outside ros__parameters")
        if "ros__parameters" in value:
            if not isinstance(value["ros__parameters"], dict):
                raise ValueError(f"params_file {path}: {prefix}{key}/ros__parameters must be a mapping")
            yield f"{prefix}{key}", _flat(value["ros__parameters"])
        else:  # a namespace written as its own level
            yield from _entries(path, value, f"{prefix}{key}/")


def _flat(tree: dict, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def matches(pattern: str, node: str) -> bool:
    """Whether a pattern of a parameter file (`/**`, `name`, `/ns/name`, `/**/name`) means the node `/ns/name`."""
    pattern = pattern if pattern.startswith("/") else f"/{pattern}"
    if pattern == "/**":
        return True
    if pattern.startswith("/**/"):
        return node.endswith(pattern[3:])
    # a bare name means the node wherever its namespace is, as people write it before they know of namespaces
    return node == pattern or (pattern.count("/") == 1 and node.endswith(pattern))


def overlay(own: dict[str, Any], user: dict[str, dict[str, Any]], node: str) -> dict[str, Any]:
    """`own` with every entry of the user's file that means this node laid over it, wildcards first."""
    merged = dict(own)
    for pattern in sorted(user, key=lambda p: "**" not in p):
        if matches(pattern, node):
            merged.update(user[pattern])
    return merged


def refuse_unknown_nodes(user: dict[str, dict[str, Any]], nodes: list[str]) -> None:
    """Raises ValueError when an entry of the user's file means no node of the graph."""
    for pattern in user:
        if not any(matches(pattern, node) for node in nodes):
            raise ValueError(f"params_file: no node is called {pattern!r}; there are {', '.join(nodes)}")


def write(path: Path, parameters: dict[str, Any]) -> Path:
    """Write a parameter file that holds for whichever node reads it; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in parameters.items()}
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}, sort_keys=True))
    return path
