"""What a member uses is what it declares.

The session `alone` shows that declared dependencies suffice; here the rest: nothing undeclared is used where it
happens to be installed, not inside a function either, and importing has no side effects.
"""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from members import Project, members

MEMBERS = members()
OURS = {member.import_root: member.name for member in MEMBERS}
# An editable install lists no modules, so our own roots are named above.
PROVIDERS = {module: {canonicalize_name(name) for name in names} for module, names in packages_distributions().items()}
# Parts of the interpreter that `sys.stdlib_module_names` does not list: start-up hooks and build details.
INTERPRETER = frozenset({"__main__", "sitecustomize", "usercustomize", "_virtualenv"})

every_member = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)


def is_standard(module: str) -> bool:
    """Whether the interpreter itself brings a top-level module."""
    return module in sys.stdlib_module_names or module in INTERPRETER or module.startswith("_sysconfigdata")


def providers(module: str) -> set[str]:
    """The distributions that a top-level module may come from."""
    return {OURS[module]} if module in OURS else set(PROVIDERS.get(module, ()))


def transitive(name: str) -> set[str]:
    """A distribution and all that it needs, in turn, on this interpreter."""
    found: set[str] = set()
    todo = [(canonicalize_name(name), frozenset[str]())]
    seen = set(todo)
    while todo:
        current, extras = todo.pop()
        found.add(current)
        for line in distribution(current).requires or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                follow = (canonicalize_name(requirement.name), frozenset(requirement.extras))
                if follow not in seen:
                    seen.add(follow)
                    todo.append(follow)
    return found


@functools.cache
def after_import(root: str) -> tuple[set[str], str]:
    """The top-level modules that importing a package loads, and the runner that Daft has then."""
    code = (
        f"import json, sys, {root}; loaded = sorted(sys.modules); import daft.runners as r;"
        " print(json.dumps([loaded, str(r._get_runner())]))"
    )
    text = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    loaded, runner = json.loads(text)
    return {module.split(".")[0] for module in loaded}, runner


def imports(source: Path) -> set[str]:
    """Top-level names of every absolute import below a directory, those inside functions too."""
    found: set[str] = set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    return found


@every_member
def test_every_import_is_declared(member: Project) -> None:
    """Every import statement of a member leads to the standard library, to itself, or to a dependency it declares."""
    declared = {canonicalize_name(requirement.name) for requirement in member.requirements(member.extras)}
    foreign = {module for module in imports(member.source) if not is_standard(module) and module != member.import_root}
    # Pydantic documents its core as part of its interface, and pins it to the very version.
    foreign.discard("pydantic_core")
    assert {module for module in foreign if not providers(module) & declared} == set()


@every_member
def test_import_loads_only_what_is_declared(member: Project) -> None:
    """Importing a member loads nothing from outside its declared dependencies, however much is installed beside it."""
    loaded, _ = after_import(member.import_root)
    allowed = transitive(member.name)
    strange = {module for module in loaded if not is_standard(module) and not providers(module) & allowed}
    # A module that no distribution owns was made by a loaded extension, not installed by anybody.
    assert {module: sorted(providers(module)) for module in strange if providers(module)} == {}


@every_member
def test_import_chooses_no_runner(member: Project) -> None:
    """Importing a member leaves the choice of Daft's runner, made once per process, to the application."""
    _, runner = after_import(member.import_root)
    assert runner == "None"


def test_transitive_follows_markers_and_members() -> None:
    """The set of needed distributions reaches through others and leaves out what is only an extra."""
    needed = transitive("archetype-core")
    assert {"archetype-core", "pyarrow", "pydantic-core"} <= needed
    assert "ray" not in needed
