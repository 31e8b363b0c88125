"""Which changes of a component class evolve by themselves, which are declared, and what the others say (M8)."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
from collections.abc import Callable
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from scene import Position, drive, history
from versions import INT32, New, Old, heal, stored, version

from archetype_core.engine import (
    World,
)
from archetype_core.errors import ComponentTypeError, SchemaMismatch
from archetype_core.schema import Archetype, Evolution, each

INT16: Any = Annotated[int, pa.int16()]
FLOAT32: Any = Annotated[float, pa.float32()]

WIDENINGS: dict[str, tuple[Any, Any, Any, Any]] = {
    "int16 to int32": (INT16, INT32, -(2**15), -(2**15)),
    "int32 to int64": (INT32, int, 2**31 - 1, 2**31 - 1),
    "uint8 to int16": (Annotated[int, pa.uint8()], INT16, 255, 255),
    "float32 to float64": (FLOAT32, float, 0.1, pa.scalar(0.1, pa.float32()).as_py()),
    "T to T | None": (str, str | None, "x", "x"),
    "int16 to int | None": (INT16, int | None, 3, 3),
    "list of int32 to list of int64": (list[INT32], list[int], [1, 2], [1, 2]),
}


@pytest.mark.parametrize("case", WIDENINGS)
def test_widened_types_evolve_by_themselves(case: str) -> None:
    """Wider types take the old values without a declaration, and history is read as the wider type (M8)."""
    narrow, wide, value, expected = WIDENINGS[case]

    async def scenario() -> None:
        one, other = version("Gauge", v=(narrow, ...)), version("Gauge", v=(wide, ...))
        store = await stored((one(v=value),))
        there = await World.open(store, "w", components=[other])
        await there.step()
        assert there.get(1, other).v == expected
        assert [row["gauge__v"] for row in history(there, other)] == [expected, expected]
        assert there.query(one).to_arrow().schema.field("gauge__v").type == other.component_type().fields[0].type
        assert there.diff(0, 1).to_pylist() == []

    drive(scenario)


NARROWINGS: dict[str, tuple[Any, Any]] = {
    "int64 to int32": (int, INT32),
    "int64 to float64": (int, float),
    "T | None to T": (int | None, int),
    "text to int": (str, int),
    "uint64 to int64": (Annotated[int, pa.uint64()], int),
}


@pytest.mark.parametrize("case", NARROWINGS)
def test_other_types_are_refused(case: str) -> None:
    """Any other change of type needs a converter (M8)."""
    old, new = (version("Gauge", v=(kind, ...)) for kind in NARROWINGS[case])
    value = "3" if old.__annotations__["v"] is str else 3

    async def scenario() -> None:
        store = await stored((old(v=value),))
        with pytest.raises(SchemaMismatch, match="field 'v' is stored as"):
            await World.open(store, "w", components=[new])
        convert = {"v": lambda column: column.cast(new.component_type().fields[0].type)}
        third = version("Gauge", Evolution(convert=convert), v=(NARROWINGS[case][1], ...))
        there = await World.open(store, "w", components=[third])
        await there.step()
        assert there.get(1, third).v == 3

    drive(scenario)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Red(enum.Enum):
    RED = "red"


def test_removed_enum_member_that_no_row_has() -> None:
    """An enum member may go if no live row has it; else `SchemaMismatch` names an entity, and a converter helps (M8)."""

    async def scenario() -> None:
        one, other = version("Paint", color=(Color, ...)), version("Paint", color=(Red, ...))
        store = await stored((one(color=Color.RED),))
        there = await World.open(store, "w", components=[other])
        await there.step()
        assert there.get(1, other).color is Red.RED

        store = await stored((one(color=Color.RED),), (one(color=Color.BLUE),))
        with pytest.raises(SchemaMismatch, match="'color' of entity 2: 'blue' is none of 'red'"):
            await World.open(store, "w", components=[other])
        third = version("Paint", Evolution(convert={"color": each(lambda _: Red.RED)}), color=(Red, ...))
        there = await World.open(store, "w", components=[third])
        before = there.digest()
        assert there.get(2, third).color is Red.RED
        assert before == there.digest(0)
        await there.step()
        assert [row["paint__color"] for row in history(there, third, ticks=1)] == ["red", "red"]
        assert [row["paint__color"] for row in history(there, third, ticks=0)] == ["red", "blue"]
        assert history(there, third, ticks=1, include_inactive=True) == history(there, third, ticks=1)
        await there.step()
        assert there.digest(2) == there.digest(1) != before

    drive(scenario)


def test_a_likely_rename_is_proposed_before_a_drop() -> None:
    """The line for a field that is gone while one of its type is new keeps the values; dropping them comes second (M8)."""

    async def scenario() -> None:
        changed = version("Health", life=(int, 10), note=(str, "n"))
        store = await stored((Old(),))
        with pytest.raises(SchemaMismatch) as caught:
            await World.open(store, "w", processors=[heal(changed)])
        text = str(caught.value)
        rename, drop = (f"    evolution = Evolution({one})" for one in ('rename={"life": "hp"}', 'drop=("hp",)'))
        assert text.index(rename) < text.index(drop)

    drive(scenario)


def test_undeclared_change_prints_both_schemas_and_the_line() -> None:
    """A removed, renamed or retyped field that is not declared is `SchemaMismatch` with both forms and the line (M8)."""

    async def scenario() -> None:
        changed = version("Health", hp=(str, ""), armor=(int, 5))
        store = await stored((Old(),))
        with pytest.raises(SchemaMismatch) as caught:
            await World.open(store, "w", processors=[heal(changed)])
        text = str(caught.value)
        assert "stored field 'note' is not in the class" in text
        assert "field 'hp' is stored as int64 and declared as text" in text
        assert (
            "\n    hp: int64    hp: text, default\n    note: text   -\n    -            armor: int64, default\n" in text
        )
        assert '    evolution = Evolution(drop=("note",), convert={"hp": ...})' in text
        assert 'rename={"armor": "note"}' in text
        assert 'refuse=(("hp", "note"),)' in text
        there = await World.open(store, "w")
        with pytest.raises(SchemaMismatch):
            there.add_processor(heal(changed))
        await there.step()
        assert there.system.slots == ()
        assert there.get(1, Old) == Old()

    drive(scenario)


def test_required_field_needs_a_default() -> None:
    """An added field without a default is `SchemaMismatch` (M8)."""

    async def scenario() -> None:
        changed = version("Health", hp=(int, 10), note=(str, "n"), armor=(int, ...))
        store = await stored((Old(),))
        with pytest.raises(SchemaMismatch, match="Give armor a default in class Health"):
            await World.open(store, "w", components=[changed])
        with pytest.raises(SchemaMismatch, match="Give armor a default"):
            (await World.open(store, "w")).get(1, changed)

    drive(scenario)


def test_declared_changes_are_made() -> None:
    """Removed, renamed and retyped fields evolve as their class declares, in live rows and in history (M8)."""
    evolution = Evolution(rename={"life": "hp"}, drop=("note",), convert={"life": each(lambda hp: f"{hp} points")})
    changed = version("Health", evolution, life=(str, ""), armor=(int | None, None))

    async def scenario() -> None:
        store = await stored((Old(hp=1, note="a"),), (Old(hp=2, note="b"),))
        there = await World.open(store, "w", components=[changed])
        assert [there.get(one, changed).life for one in (1, 2)] == ["1 points", "2 points"]
        await there.step()
        assert [(row["tick"], row["health__life"], row["health__armor"]) for row in history(there, changed)] == [
            (tick, life, None) for tick in (0, 1) for life in ("1 points", "2 points")
        ]
        assert "health__note" not in there.query(changed).column_names
        # The old names are still what the old class reads.
        assert [row["health__note"] for row in history(there, Old)] == ["a", "b", None, None]

    drive(scenario)


def test_declaration_may_stay_for_good() -> None:
    """A rename, drop or conversion touches only rows of the old form, so later versions may keep it (M8)."""
    evolution = Evolution(rename={"life": ("hp", "points")}, drop=("note",), convert={"life": each(str)})
    second = version("Health", evolution, life=(str, ""))
    third = version("Health", evolution, life=(str, ""), hp=(int, 3), armor=(int, 1))

    async def scenario() -> None:
        store = await stored((Old(hp=1),))
        there = await World.open(store, "w", components=[second])
        there.spawn(second(life="own"))
        await there.step()
        there = await World.open(store, "w", components=[third])
        assert [there.get(one, third) for one in (1, 2)] == [
            third(life="1", hp=3, armor=1),
            third(life="own", hp=3, armor=1),
        ]
        direct = await World.open(await stored((Old(hp=1),)), "w", components=[third])
        assert direct.get(1, third) == third(life="1", hp=3, armor=1)

    drive(scenario)


def test_renamed_class_takes_its_rows_along() -> None:
    """A class that names its previous name has those rows, live and in history (M8)."""
    vigor = version("Vigor", Evolution(previous="Health"), hp=(int, 10), note=(str, "n"))

    async def scenario() -> None:
        store = await stored((Old(hp=4), Position()))
        there = await World.open(store, "w", components=[vigor])
        await there.step()
        assert there.get(1, vigor).hp == 4
        assert set(there.tables()) == {Archetype.of(vigor, Position)}
        assert [row["vigor__hp"] for row in history(there, vigor)] == [4, 4]

    drive(scenario)


def test_old_name_is_claimed_or_refused_by_schema() -> None:
    """When a class takes over an old name, its rows go to the class that claims them and away from one that refuses (M8)."""
    vigor = version("Vigor", Evolution(previous="Health"), hp=(int, 10), note=(str, "n"))
    clash = version("Health", hp=(int, 1), note=(str, ""), more=(int, 0))
    refusing = version("Health", Evolution(refuse=(("hp", "note"),)), hp=(int, 1), note=(str, ""), more=(int, 0))

    async def scenario() -> None:
        store = await stored((Old(hp=4),), (refusing(hp=5),))
        with pytest.raises(SchemaMismatch, match="both claim its rows"):
            await World.open(store, "w", components=[vigor, clash])
        there = await World.open(store, "w", components=[vigor, refusing])
        assert there.get(1, vigor).hp == 4
        assert there.get(2, refusing).hp == 5
        await there.step()
        assert [row["health__hp"] for row in history(there, refusing)] == [5, 5]
        alone = await World.open(await stored((Old(hp=4),)), "w", components=[refusing])
        await alone.step()
        assert set(alone.tables()) == {Archetype.of(Old)}

    drive(scenario)


def test_evolution_that_would_double_a_component_is_refused() -> None:
    """An entity with both the old and the new class cannot evolve, and says so (M8, M4)."""
    vigor = version("Vigor", Evolution(previous="Health"), hp=(int, 10), note=(str, "n"))

    async def scenario() -> None:
        store = await stored((Old(), vigor()))
        with pytest.raises(SchemaMismatch, match="cannot evolve"):
            await World.open(store, "w", components=[vigor])

    drive(scenario)


def test_failed_converter_changes_nothing() -> None:
    """A converter that raises, gives too few values or one that does not fit is `SchemaMismatch`; the world reopens (M8)."""
    faults: dict[str, Callable[[pa.Array], Any]] = {
        "ZeroDivisionError": lambda column: [1 // 0 for _ in column],
        "gave 1 values for 2 rows": lambda column: column[:1],
        "'hp' of entity 2: null": lambda column: pc.if_else(pc.equal(column, 1), column, None).cast(pa.int32()),
        "expected int, got str": lambda column: ["x" for _ in column],
    }

    async def scenario() -> None:
        store = await stored((Old(hp=1),), (Old(hp=2),))
        for text, convert in faults.items():
            changed = version("Health", Evolution(convert={"hp": convert}, drop=("note",)), hp=(INT32, 1))
            with pytest.raises(SchemaMismatch, match=text):
                await World.open(store, "w", components=[changed])
        there = await World.open(store, "w", components=[New])
        await there.step()
        assert len(there) == 2

    drive(scenario)


def test_declaration_is_checked_with_its_class() -> None:
    """An `Evolution` that names no field of its class, or contradicts itself, is refused with the class (M8, M2)."""
    for evolution, text in (
        (Evolution(rename={"x": "y"}), "rename names 'x', which is not one of its fields"),
        (Evolution(convert={"x": each(int)}), "convert names 'x', which is not one of its fields"),
        (Evolution(drop=("hp",)), "drop names 'hp', which is one of its fields"),
        (Evolution(rename={"hp": "a", "mp": "a"}), "two fields are renamed from 'a'"),
        (Evolution(rename={"hp": "mp", "mp": "hp"}), "is renamed, and is renamed to or dropped"),
        (Evolution(previous="Bad"), "its own name"),
    ):
        with pytest.raises(ComponentTypeError, match=text):
            version("Bad", evolution, hp=(int, 0), mp=(int, 0))
    with (
        pytest.warns(UserWarning, match="shadows"),
        pytest.raises(ComponentTypeError, match="write evolution = Evolution"),
    ):
        version("Bad", evolution=(Evolution, Evolution()))
    for wrong in ({"drop": "hp"}, {"rename": ("a", "b")}, {"convert": {"a": 1}}, {"refuse": ("a",)}):
        with pytest.raises(TypeError):
            Evolution(**wrong)  # type: ignore[arg-type]  # reason: what is refused


def test_subclass_inherits_what_became_of_fields_and_no_names() -> None:
    """A subclass inherits renames, drops and conversions, but neither previous names nor refusals (M8)."""
    base = version("Base", Evolution(rename={"b": "a"}, previous="Basis"), b=(int, 0))
    child = type("Child", (base,), {"__module__": __name__})
    old = version("Child", a=(int, 0))
    basis = version("Basis", b=(int, 0))

    async def scenario() -> None:
        store = await stored((old(a=3),), (basis(b=4),))
        there = await World.open(store, "w", components=[child])
        assert there.get(1, child).b == 3  # type: ignore[attr-defined]  # reason: a class made at run time
        assert there.entity_ids(child).to_pylist() == [1]
        assert there.entity_ids(base).to_pylist() == [2]

    drive(scenario)


class Spot(BaseModel):
    """The nested model of one version."""

    x: float


class Place(BaseModel):
    """The nested model of the next."""

    x: float
    name: str = "here"


def test_datetimes_and_nested_models_follow() -> None:
    """A renamed datetime keeps its zone, a converter gets it as a struct, and a nested model goes through `each` (M8)."""
    moment = dt.datetime(2026, 1, 2, 3, tzinfo=ZoneInfo("Europe/Berlin"))
    one = version("Stop", at=(dt.datetime, ...), left=(dt.datetime, ...), spot=(Spot, ...))
    evolution = Evolution(
        rename={"came": "at"},
        convert={
            "left": lambda column: pc.struct_field(column, "zone"),
            "spot": each(lambda spot: Place(**spot)),
        },
    )
    other = version("Stop", evolution, came=(dt.datetime | None, None), left=(str, ""), spot=(Place, ...))

    async def scenario() -> None:
        store = await stored((one(at=moment, left=moment, spot=Spot(x=1.5)),))
        there = await World.open(store, "w", components=[other])
        await there.step()
        found = there.get(1, other)
        assert (found.came, found.came.tzinfo, found.left) == (moment, moment.tzinfo, "Europe/Berlin")
        assert found.spot == Place(x=1.5, name="here")
        assert len(history(there, other)) == 2

    drive(scenario)


def test_a_chain_of_renames_without_one_name_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Live rows older than the oldest declared name are `SchemaMismatch`, and the line to write keeps the newer names (M8)."""
    first, third = version("Health", old=(INT32, 1)), version("Health", Evolution(rename={"new": "mid"}), new=(int, 0))
    whole = version("Health", Evolution(rename={"new": ("mid", "old")}), new=(int, 0))

    async def scenario() -> None:
        store = await stored((first(old=7),))
        for named in ({"components": [third]}, {"processors": [heal(third)]}):
            with pytest.raises(SchemaMismatch) as caught:
                await World.open(store, "w", **named)  # type: ignore[arg-type]  # reason: either
            assert "field 'new' is stored under none of its names: new, mid" in caught.value.differences
            assert '    evolution = Evolution(rename={"new": ("mid", "old")})' in caught.value.remedy.splitlines()
            assert '    evolution = Evolution(rename={"new": "mid"}, drop=("old",))' in caught.value.remedy.splitlines()
        # A reader gets no made-up value: neither as a component, nor as a default.
        reader = await World.open(store, "w")
        for read in (
            lambda: reader.get(1, third),
            lambda: reader.query(third, missing="default"),
            lambda: reader.snapshot(third, missing="default"),
        ):
            with pytest.raises(SchemaMismatch, match="field 'new' is stored under none of its names"):
                read()
        assert not caplog.records
        for _ in range(2):
            assert reader.query(third).to_pydict()["health__new"] == [None]
            assert reader.snapshot(third).to_pydict()["health__new"] == [None]
        (record,) = caplog.records
        assert record.getMessage().startswith("new read as null: ")
        assert 'rename={"new": ("mid", "old")}' in record.getMessage()
        assert reader.query(whole, missing="default").to_pydict()["health__new"] == [7]
        there = await World.open(store, "w", components=[whole])
        assert there.get(1, whole).new == 7

    drive(scenario)


@given(
    st.lists(st.sampled_from(["one", "two", "three"]), max_size=2, unique=True),
    st.sampled_from(["one", "two", "three", "four"]),
    st.booleans(),
)
def test_only_a_field_that_may_be_the_renamed_one_is_asked_about(olds: list[str], held: str, is_text: bool) -> None:
    """A default is refused if, and only if, a stored field of a fitting type may be the renamed one (M8)."""
    first = version("Health", **{held: (str if is_text else int, ...), "same": (int, 0)})
    later = version("Health", Evolution(rename={"new": tuple(olds)}), new=(int, 5), same=(int, 0))

    async def scenario() -> None:
        reader = await World.open(await stored((first(**{held: "7" if is_text else 7}),)), "w")
        if is_text and held in olds:
            expected: object = "is stored as"
        elif held in olds:
            expected = 7
        else:
            expected = "under none of its names" if olds and not is_text else 5
        if isinstance(expected, str):
            with pytest.raises(SchemaMismatch, match=expected):
                reader.query(later, missing="default")
        else:
            assert reader.query(later, missing="default").to_pydict()["health__new"] == [expected]
            assert reader.get(1, later).new == expected

    asyncio.run(scenario())
