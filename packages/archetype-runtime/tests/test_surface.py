"""The public surface, and what handles must not hold."""

from __future__ import annotations

import ast
import gc
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runtime_scene import Movement, Position, with_runtime

import archetype
from archetype import (
    ArchetypeRuntime,
    PreTick,
    RuntimeRollout,
    RuntimeWorld,
    SyncArchetypeRuntime,
    SyncRuntimeRollout,
    SyncRuntimeWorld,
    otel_hooks,
)
from archetype.contrib.logfire_observer import logfire_hooks
from archetype_core import World, engine

SOURCE = Path(archetype.__file__).parent
TWINS = [
    (ArchetypeRuntime, SyncArchetypeRuntime),
    (RuntimeWorld, SyncRuntimeWorld),
    (RuntimeRollout, SyncRuntimeRollout),
]
# What makes no sense twice, or belongs to one side alone.
APART = {"sync", "check_open", "check_outside"}


def public(kind: type) -> dict[str, Any]:
    """Return the public attributes of a class by name."""
    return {name: value for name, value in inspect.getmembers(kind) if not name.startswith("_") and name not in APART}


def pairs() -> Iterator[Any]:
    """Yield each public attribute and that of its twin."""
    for kind, twin in TWINS:
        theirs = public(twin)
        for name, value in public(kind).items():
            yield pytest.param(value, theirs.get(name), id=f"{kind.__name__}.{name}")


def spelled(annotation: object) -> str:
    """Return an annotation as the twin spells it."""
    return str(annotation).replace("Sync", "").replace("WorldReads", "RuntimeWorld")


def without_await(text: str) -> str:
    """Return a docstring as the sync twin has it."""
    return text.replace("await ", "")


@pytest.mark.parametrize(("one", "twin"), list(pairs()))
def test_sync_twin_is_the_same_but_for_await(one: Any, twin: Any) -> None:
    """Every public method has a sync twin with its parameters, defaults, annotations and docstring, no coroutine (RT6)."""
    assert twin is not None
    assert isinstance(one, property) == isinstance(twin, property)
    if isinstance(one, property):
        one, twin = one.fget, twin.fget
    assert not inspect.iscoroutinefunction(twin)
    mine, theirs = inspect.signature(one), inspect.signature(twin)
    assert [(p.name, p.kind, p.default) for p in mine.parameters.values()] == [
        (p.name, p.kind, p.default) for p in theirs.parameters.values()
    ]
    assert [spelled(p.annotation) for p in mine.parameters.values()] == [
        spelled(p.annotation) for p in theirs.parameters.values()
    ]
    assert spelled(mine.return_annotation) == spelled(theirs.return_annotation)
    assert one.__doc__
    assert twin.__doc__ == without_await(one.__doc__)


def test_sync_side_has_no_more() -> None:
    """A sync twin has nothing that its original lacks (RT6)."""
    for kind, twin in TWINS:
        assert public(twin).keys() <= public(kind).keys()


def test_constructors_are_twins() -> None:
    """Both runtimes and `ArchetypeRuntime.sync` take the same arguments (RT6)."""
    made = [inspect.signature(one) for one in (ArchetypeRuntime, SyncArchetypeRuntime, ArchetypeRuntime.sync)]
    assert made[0].parameters == made[1].parameters == made[2].parameters


def imports() -> Iterator[tuple[str, str, str]]:
    """Yield file, imported module and name of all imports of the package."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    yield path.name, node.module, alias.name
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    yield path.name, alias.name, ""


def test_only_the_gates_front_is_imported() -> None:
    """From the gate the runtime imports its container, policy, quotas and observer, and nothing else (RT1)."""
    gate = {(module, name) for _, module, name in imports() if module.partition(".")[0] == "archetype_gate"}
    assert gate == {("archetype_gate", name) for name in ("ServiceContainer", "Policy", "Quotas", "otel_hooks")}


def test_no_engine_is_imported() -> None:
    """No world and no store is imported: the gate is the only way to them (RT1, RT2)."""
    behind = {
        "archetype_core",
        "archetype_core.engine.world",
        "archetype_core.engine.state",
        "archetype_core.store.memory",
    }
    taken = {(module, name) for _, module, name in imports()}
    assert not [one for one in taken if one[0] in behind]
    assert not [one for one in taken if one[1] in {"World", "open_store", "MemoryStore"}]


def test_handles_hold_no_world() -> None:
    """No object that a handle refers to, up to the gate, is a world (RT2)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Movement()])
        await world.spawn(Position())
        await world.step()
        seen: set[int] = set()
        gates: set[int] = set()
        todo: list[Any] = [world]
        while todo:
            one = todo.pop()
            if id(one) in seen or inspect.ismodule(one) or isinstance(one, type):
                continue
            seen.add(id(one))
            assert not isinstance(one, World)
            if inspect.isfunction(one) or inspect.ismethod(one):
                continue
            if type(one).__module__.startswith("archetype_gate"):
                gates.add(id(one))
                continue
            todo.extend(gc.get_referents(one))
        assert len(gates) == 1

    with_runtime(main)


def test_construction_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making runtimes and declaring worlds creates no file and no thread, and does not import Daft (C1)."""
    code = (
        "import os, sys, threading\n"
        "from archetype import ArchetypeRuntime, PreTick\n"
        "runtime = ArchetypeRuntime('journal:./data')\n"
        "world = runtime.world('demo', processors=[object()], hooks=[(PreTick, print)])\n"
        "sync = ArchetypeRuntime.sync('journal:./data')\n"
        "sync.world('demo'); sync.open('other'); repr(world); world._repr_html_()\n"
        "assert os.listdir() == [], os.listdir()\n"
        "assert threading.active_count() == 1\n"
        "assert 'daft' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path)


def test_exports() -> None:
    """Every export exists, and what a script needs is exported."""
    assert len(set(archetype.__all__)) == len(archetype.__all__)
    assert [name for name in archetype.__all__ if not hasattr(archetype, name)] == []
    wanted = "ArchetypeRuntime Component AsyncProcessor Processor RunConfig StorageConfig CacheConfig ActorCtx PreTick"
    assert set(wanted.split()) <= set(archetype.__all__)


def test_published_spellings() -> None:
    """Published import paths lead to the same objects."""
    from archetype.core import hooks

    assert hooks.PreTick is PreTick
    assert hooks.HookEvent is engine.Event
    assert logfire_hooks is otel_hooks
    assert "logfire" not in sys.modules
