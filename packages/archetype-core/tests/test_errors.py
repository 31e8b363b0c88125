"""The error tree."""

from __future__ import annotations

import builtins
import copy
import inspect
import pickle
import traceback
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype_core import errors
from archetype_core.engine import World
from archetype_core.errors import ArchetypeError
from archetype_core.store import MemoryStore

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ArchetypeError)]


def test_codes_are_unique() -> None:
    """A code names one error."""
    codes = [kind.code for kind in TREE]
    assert sorted(set(codes)) == sorted(codes)


@pytest.mark.parametrize("kind", [kind for kind in TREE if kind is not ArchetypeError])
def test_error_is_a_builtin_too(kind: type[ArchetypeError]) -> None:
    """An error is also the built-in exception that a caller would catch."""
    standard = [base for base in kind.__mro__ if vars(builtins).get(base.__name__) is base]
    assert standard[0] not in {Exception, BaseException}


SAMPLES: list[ArchetypeError] = [
    errors.ValueRejected("Position", "x", "too large", row=3),
    errors.EntityNotFound(7, "demo"),
    errors.ProcessorError("Move", "position_1", 4, "ValueError: boom"),
    errors.HookError("check", "PreTick", "ValueError: boom"),
    errors.TickNotFound("demo", 9, 0, 4),
    errors.TickConflict("id", 3, 5, "another process"),
    errors.AdapterMissing("store", "lance", "install archetype-store-lance"),
    errors.PermissionDenied("ann", ["player"], "step"),
    errors.PlanTooDeep(65, 64),
    errors.CommitError("the disk is full"),
    errors.StorageNotFound("/srv/typo"),
    errors.OtherStore("journal:./data", "lance:./data"),
    errors.StorageReadOnly("/mnt/copy"),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "deep", "pickle"]
)
def test_an_error_is_the_same_elsewhere(
    error: ArchetypeError, again: Callable[[ArchetypeError], ArchetypeError]
) -> None:
    """A copied or unpickled error has the class, the text and the facts, however many arguments made it."""
    made = again(error)
    assert type(made) is type(error)
    assert str(made) == str(error)
    assert vars(made) == vars(error)


def test_a_raised_error_can_be_pickled() -> None:
    """A traceback, which no pickle can hold, is not among an error's facts; notes are."""
    world = World(MemoryStore())
    with pytest.raises(errors.TickNotFound) as caught:
        world.snapshot(at=3)
    caught.value.add_note("while testing")
    made = pickle.loads(pickle.dumps(caught.value))
    assert (made.tick, made.__notes__) == (3, ["while testing"])


@given(st.text(), st.text())
def test_the_last_line_has_the_code_and_what_to_do(reason: str, world: str) -> None:
    """The last line of an error's text ends with its code, and a reason of several lines does not hide the remedy."""
    error = errors.ProcessorError("Move", "position_1", 4, f"{reason}\n{world}")
    last = str(error).rpartition("\n")[2]
    assert last == (
        "The tick was rolled back and its staged mutations are kept; fix the cause and step again. [ARC-T002]"
    )
    assert str(errors.WorldNotFound(world)).endswith(" [ARC-W001]")


def test_an_exception_group_keeps_its_errors() -> None:
    """Errors in a group are split and matched by class, and printed with their codes."""
    group = ExceptionGroup("runs failed", SAMPLES)
    matched, rest = group.split(errors.TickNotFound)
    assert matched is not None
    assert rest is not None
    assert (len(matched.exceptions), len(rest.exceptions)) == (1, len(SAMPLES) - 1)
    printed = "".join(traceback.format_exception(group))
    assert all(f"[{error.code}]" in printed for error in SAMPLES)
