"""Shared by the whole-system tests: the transport that the graph uses, and graphs that end with their module."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from graph import Graph, free_domain
from probe import Probe

from ws_bringup.environment import PROFILES, RANGE, defaults


@pytest.fixture(scope="session", autouse=True)
def _transport():
    with pytest.MonkeyPatch.context() as patch:
        for name in (*PROFILES, RANGE):
            patch.setenv(name, defaults()[name])
        yield


@pytest.fixture(scope="session")
def load_benchmark():
    """A script of benchmarks/ as a module, by name."""

    def load(name: str) -> ModuleType:
        path = Path(__file__).resolve().parents[1] / "benchmarks" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="module")
def make_graph(tmp_path_factory):
    """A started graph; all of them end with the module."""
    graphs = []

    def make(*arguments: str, folder: Path | None = None, **options) -> Graph:
        graph = Graph(folder or tmp_path_factory.mktemp("graph") / "run", free_domain(), *arguments, **options)
        graphs.append(graph)
        return graph.start()

    yield make
    for graph in graphs:
        graph.close()


@pytest.fixture(scope="module")
def make_probe():
    """A probe in a graph's domain; all of them end with the module."""
    probes = []

    def make(graph: Graph, namespace: str = "/") -> Probe:
        probes.append(Probe(graph, namespace))
        return probes[-1]

    yield make
    for probe in probes:
        probe.close()
