"""Generate the sync classes of archetype-runtime from the async ones; `--check` fails if the committed files differ.

A sync class has every public method of its async source, with its signature and docstring. Where async methods are
decorated with `waits_for` and `converts`, the decorators say how a sync call waits and which arguments it converts.
"""

from __future__ import annotations

import ast
import difflib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "packages/archetype-runtime/src/archetype"
Method = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Twin:
    """A sync class: its module, its base in `sync_handle.py`, and the async classes whose methods it has."""

    module: str
    name: str
    base: str
    sources: tuple[tuple[str, str], ...]
    """Modules and classes, base classes first; the last one is the class that it wraps."""
    doc: str
    """Stands below the docstring of that class."""


TWINS = (
    Twin(
        "sync_world",
        "SyncRuntimeWorld",
        "SyncHandle",
        (("handle", "Handle"), ("world_reads", "WorldReads"), ("world", "RuntimeWorld")),
        "The sync twin of ``RuntimeWorld``. It may be called from any thread, and from hooks and processors.",
    ),
    Twin(
        "sync_rollout",
        "SyncRuntimeRollout",
        "SyncTwin",
        (("rollout", "RuntimeRollout"),),
        "The sync twin of ``RuntimeRollout``.",
    ),
    Twin(
        "sync_runtime",
        "SyncArchetypeRuntime",
        "SyncScope",
        (("async_runtime", "AsyncRuntime"),),
        "The sync twin of ``ArchetypeRuntime``. Its event loop runs only while a call waits for it, in the thread of that call.",
    ),
)
SYNC = {source: twin.name for twin in TWINS for _, source in twin.sources}
HIDDEN = frozenset({"check_open", "check_outside"})
"""Public for the sync base classes alone."""


def spelled(text: str) -> str:
    """Source text of a signature or docstring as the sync class has it."""
    text = re.sub(r"\basync (?=def|with|for)", "", re.sub(r"\bawait ", "", text))
    return re.sub(r"\b(" + "|".join(SYNC) + r")\b", lambda found: SYNC[found[0]], text)


def decorators(method: Method) -> dict[str, ast.Call | None]:
    """The decorators of a method by name; None for one that is not called."""
    found: dict[str, ast.Call | None] = {}
    for one in method.decorator_list:
        if isinstance(one, ast.Call):
            found[ast.unparse(one.func)] = one
        else:
            found[ast.unparse(one)] = None
    return found


def signature(method: Method, lines: list[str]) -> str:
    """The lines of a method from its `def` to its docstring, comments included."""
    return spelled("\n".join(lines[method.lineno - 1 : method.body[0].lineno - 1]))


def docstring(node: Method | ast.ClassDef, lines: list[str]) -> str:
    """The lines of a docstring."""
    first = node.body[0]
    if not isinstance(first, ast.Expr) or not isinstance(first.value, ast.Constant):
        raise SystemExit(f"{node.name}: has no docstring")
    return spelled("\n".join(lines[first.lineno - 1 : first.end_lineno]))


def passed(method: Method, conversions: dict[str, str]) -> str:
    """The arguments of the call to the async method."""
    given = method.args

    def value(one: ast.arg) -> str:
        return f"self.{conversions[one.arg]}({one.arg})" if one.arg in conversions else one.arg

    parts = [value(one) for one in [*given.posonlyargs, *given.args][1:]]
    if given.vararg:
        parts.append(f"*{given.vararg.arg}")
    parts += [f"{one.arg}={value(one)}" for one in given.kwonlyargs]
    if given.kwarg:
        parts.append(f"**{given.kwarg.arg}")
    return ", ".join(parts)


def body(method: Method) -> str:
    """The statement that calls the async method."""
    found = decorators(method)
    if "property" in found:
        return f"return self._original.{method.name}"
    converts = found.get("converts")
    conversions = {one.arg or "": ast.literal_eval(one.value) for one in converts.keywords} if converts else {}
    call = f"self._original.{method.name}({passed(method, conversions)})"
    if isinstance(method, ast.AsyncFunctionDef):
        waits = found.get("waits_for")
        if waits is None:
            raise SystemExit(f"{method.name}: an async method says what it waits for, with @waits_for(…)")
        kind = ast.literal_eval(waits.args[0])
        call = f"self._end({call})" if kind == "shutdown" else f"self._call({call}, {kind!r})"
    returned = ast.unparse(method.returns) if method.returns else ""
    if returned == "RuntimeWorld":
        call = f"self._handle({call})"
    elif returned in SYNC:
        call = f"{SYNC[returned]}({call}, self._runner)"
    return call if returned == "None" else f"return {call}"


def methods(twin: Twin) -> Iterator[str]:
    """The methods of a sync class."""
    for module, name in twin.sources:
        source = (PACKAGE / f"{module}.py").read_text()
        lines = source.splitlines()
        for node in class_of(source, name).body:
            if not isinstance(node, Method):
                continue
            if node.name == "__init__" and name == "AsyncRuntime":
                made = f"super().__init__(AsyncRuntime({passed(node, {})}), SyncRunner())"
                yield f"{signature(node, lines)}\n        {made}"
            if node.name.startswith("_") or node.name in HIDDEN:
                continue
            found = decorators(node)
            if "overload" in found:
                overload = spelled("\n".join(lines[node.lineno - 1 : node.end_lineno]))
                yield f"    @overload\n{overload}"
                continue
            head = ["    @property" if "property" in found else "    @door"]
            yield "\n".join([*head, signature(node, lines), docstring(node, lines), f"        {body(node)}"])


def class_of(source: str, name: str) -> ast.ClassDef:
    """A class of a module."""
    return next(one for one in ast.parse(source).body if isinstance(one, ast.ClassDef) and one.name == name)


def imports(twin: Twin, code: str) -> Iterator[tuple[bool, str]]:
    """The imports that the code of a sync class needs, and whether each is for type checkers alone."""
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    known = {one.name: (False, f"from archetype.{one.module} import {one.name}") for one in TWINS if one != twin}
    known["SyncRunner"] = (False, "from archetype.sync_runner import SyncRunner")
    known["door"] = (False, "from archetype_core.user_traceback import door")
    known[twin.base] = (False, f"from archetype.sync_handle import {twin.base}")
    for module, _ in twin.sources:
        for node in ast.parse((PACKAGE / f"{module}.py").read_text()).body:
            is_checked = isinstance(node, ast.If)
            for one in node.body if isinstance(node, ast.If) else [node]:
                if isinstance(one, ast.ImportFrom):
                    names = {alias.name: f"from {one.module} import {alias.name}" for alias in one.names}
                elif isinstance(one, ast.ClassDef):
                    names = {one.name: f"from archetype.{module} import {one.name}"}
                elif isinstance(one, ast.Assign):
                    names = {name: f"from archetype.{module} import {name}" for name in map(ast.unparse, one.targets)}
                else:
                    continue
                known |= {name: (is_checked, line) for name, line in names.items() if name not in known}
    return (known[name] for name in sorted(used & known.keys()))


def generated(twin: Twin) -> str:
    """The source of a sync module."""
    module, original = twin.sources[-1]
    source = (PACKAGE / f"{module}.py").read_text()
    described = docstring(class_of(source, original), source.splitlines()).removesuffix('"""').rstrip()
    parts = [f'{described}\n\n    {twin.doc}\n    """', f"    _original: {original}"]
    found = list(methods(twin))
    if any("self._handle(" in one or "_async_hook" in one for one in found):
        handle = "    def _handle(self, world: RuntimeWorld) -> SyncRuntimeWorld:\n"
        found.append(f"{handle}        return SyncRuntimeWorld(world, self._runner)")
    code = f"class {twin.name}({twin.base}):\n" + "\n\n".join(parts + found) + "\n"
    needed = list(imports(twin, code))
    checked = "".join(f"    {line}\n" for is_checked, line in needed if is_checked)
    sources = ", ".join(f"{module}.py" for module, _ in twin.sources)
    lines = [
        f'"""Generated by `checks/sync_twin.py` from {sources}: change the source and run it again."""\n',
        "from __future__ import annotations\n",
        "".join(f"{line}\n" for is_checked, line in needed if not is_checked),
    ]
    if checked:
        lines.append(f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n{checked}\n")
    return formatted("\n".join([*lines, code]), PACKAGE / f"{twin.module}.py")


def formatted(source: str, path: Path) -> str:
    """Source with its imports sorted and its lines broken as in the rest of the project."""
    for command in (("check", "--quiet", "--select", "I", "--fix"), ("format", "--quiet")):
        settings = ["--config", str(ROOT / "pyproject.toml"), "--stdin-filename", str(path), "-"]
        arguments = [sys.executable, "-m", "ruff", *command, *settings]
        source = subprocess.run(arguments, input=source, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return source


def main(arguments: list[str]) -> int:
    """Write the sync modules, or with `--check` print how the committed ones differ."""
    differences = 0
    for twin in TWINS:
        path, wanted = PACKAGE / f"{twin.module}.py", generated(twin)
        present = path.read_text() if path.exists() else ""
        if "--check" not in arguments:
            path.write_text(wanted)
        elif present != wanted:
            differences += 1
            name = f"archetype/{path.name}"
            compared = difflib.unified_diff(present.splitlines(), wanted.splitlines(), name, "generated", lineterm="")
            print("\n".join(compared))
    if differences:
        print(f"{differences} sync modules differ from their async sources: run python checks/sync_twin.py")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
