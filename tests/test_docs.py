"""The documentation says what the code does: parameters, topics, links, the example."""

import ast
import importlib.util
import re
from itertools import product
from pathlib import Path

import pytest

from ws_rollouts.bag import write_episode
from ws_rollouts.testing import make_episode

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAKERS = ("create_publisher", "create_subscription", "create_service", "make_publisher", "Polled")
CODE = [f for f in (ROOT / "src").glob("*/*/**/*.py") if f.relative_to(ROOT / "src").parts[1] != "test"]
ROW = re.compile(r"^\| `([/~][^`]*)`", re.MULTILINE)
HOLE = "\0"  # stands where an f-string has a value


def text_of(node: ast.expr) -> str | None:
    """A string literal, or an f-string with HOLE for each of its values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(v) if isinstance(v, ast.Constant) else HOLE for v in node.values)
    return None


def strings(tree: ast.AST) -> set[str]:
    return {text for node in ast.walk(tree) if isinstance(node, ast.expr) and (text := text_of(node))}


@pytest.fixture(scope="module")
def literals() -> set[str]:
    """Every string in the code."""
    return set().union(*(strings(ast.parse(file.read_text())) for file in CODE))


def made_names() -> set[str]:
    """Names in the calls that make publishers, subscriptions and services."""
    found = set()
    for file in CODE:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in MAKERS:
                found.update(text for argument in node.args if (text := text_of(argument)))
    return {name for name in found if name != f"~/{HOLE}"}


def documented() -> tuple[set[str], set[str]]:
    """Topics and services in the first columns of docs/topics.md, with {a,b} written out."""
    return tuple(
        {"".join(choice) for row in ROW.findall(part) for choice in product(*_alternatives(row))}
        for part in (ROOT / "docs" / "topics.md").read_text().split("## Services")
    )


def _alternatives(row: str) -> list[list[str]]:
    return [p.strip("{}").split(",") if p.startswith("{") else [p] for p in re.split(r"(\{[^}]*\})", row)]


def as_written(topic: str) -> set[str]:
    """How nodes may write an absolute name: as it is, relative, or relative to the robot's namespace."""
    bare = topic.lstrip("/")
    return {topic, bare, bare.removeprefix("a1x/")}


def fits(pattern: str, name: str, literals: set[str]) -> bool:
    """Whether a string of the code can be this name; what fills its holes must be strings of the code as well."""
    if HOLE not in pattern:
        return pattern == name
    if not any(character.isalpha() for character in pattern):
        return False
    match = re.fullmatch(re.escape(pattern).replace(re.escape(HOLE), "(.+)"), name)
    return bool(match) and all(is_written(fill, literals) for fill in match.groups())


def is_written(name: str, literals: set[str]) -> bool:
    """Whether the code holds this name, whole or in parts."""
    holed = (text for text in literals if HOLE in text and "/" in text)
    return name in literals or any(fits(pattern, name, literals) for pattern in holed)


def test_parameters_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("parameters_page", ROOT / "scripts" / "parameters_page.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.page() == script.PAGE.read_text(), "run python scripts/parameters_page.py"


def test_documented_topics_are_in_the_code(literals):
    topics, _ = documented()
    assert len(topics) > 25
    assert not [t for t in sorted(topics) if not any(is_written(name, literals) for name in as_written(t))]


def test_documented_services_are_in_the_code(literals):
    _, services = documented()
    assert len(services) > 10
    last = {service: service.split("/")[-1] for service in services}
    # made as "~/name", or as "~/" and a name from a list
    assert not [s for s, name in sorted(last.items()) if f"~/{name}" not in literals and name not in literals]


def test_names_that_nodes_make_are_documented(literals):
    topics, services = documented()
    known = set().union(*map(as_written, topics)) | {"~/" + service.split("/")[-1] for service in services}
    names = made_names()
    assert len(names) > 20
    assert not [n for n in sorted(names) if not any(fits(n, written, literals) for written in known)]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}, target


def test_the_example_that_reads_a_bag_runs(tmp_path, monkeypatch, capsys):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "bags.md").read_text(), re.DOTALL)[1]
    write_episode(tmp_path / "runs" / "pushing" / "bags", make_episode(steps=5))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/bags.md", "exec"), {})
    assert "success" in capsys.readouterr().out
