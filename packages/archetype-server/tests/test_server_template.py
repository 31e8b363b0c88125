"""Templates: what a server's worlds are made of comes from the operator's module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archetype_core.engine import Processor
from archetype_core.schema import Component
from archetype_server import WorldTemplate, load_templates
from archetype_server.problem import NotHere
from archetype_server.template import Templates


class Ore(Component):
    grams: int = 0


class Dig(Processor):
    components = (Ore,)


class Wallet:
    pass


@pytest.fixture(autouse=True)
def _modules() -> Iterator[None]:
    """What a test imports is forgotten after it."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = path


def test_a_class_is_made_anew_for_every_world() -> None:
    """A processor or resource that is a class is an object of each world's own; an object is shared."""
    shared = Wallet()
    template = WorldTemplate("mine", processors=[Dig], resources=[Wallet, shared], components=[Ore])
    first, second = template.parts(), template.parts()
    assert first.processors
    assert second.processors
    assert first.resources
    assert second.resources
    assert isinstance(first.processors[0], Dig)
    assert first.processors[0] is not second.processors[0]
    assert first.resources[0] is not second.resources[0]
    assert first.resources[1] is second.resources[1] is shared
    assert (template.component_names, template.processor_names) == (["Ore"], ["Dig"])


def test_templates_are_found_by_name() -> None:
    """The first is the default; an unknown name is refused with those there are; two of one name are an error."""
    one, two = WorldTemplate("one"), WorldTemplate("two")
    templates = Templates([one, two])
    assert (templates.find(None), templates.find("two"), templates.get("no")) == (one, two, None)
    with pytest.raises(NotHere, match=r"did you mean two.*one, two"):
        templates.find("tow")
    with pytest.raises(ValueError, match="'one'"):
        Templates([one, WorldTemplate("one")])


def test_the_built_in_module_is_a_template() -> None:
    """A server that loads nothing has Position, Velocity and Health, and things move."""
    (only,) = load_templates(None)
    assert (only.name, only.component_names) == ("movement", ["Health", "Position", "Velocity"])
    assert only.processor_names == ["Movement"]


def test_a_file_is_loaded_with_what_it_imports_from_beside_it(tmp_path: Path) -> None:
    """The templates of a file are the ``WorldTemplate`` objects in it."""
    (tmp_path / "neighbour_of_sim.py").write_text("NAME = 'town'\n")
    (tmp_path / "sim_file.py").write_text(
        "from archetype_server import WorldTemplate\nfrom neighbour_of_sim import NAME\nTOWN = WorldTemplate(NAME)\n"
    )
    assert [one.name for one in load_templates(str(tmp_path / "sim_file.py"))] == ["town"]


def test_a_module_of_the_current_directory_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--load my_sim`` finds ``my_sim.py``; without a template, its classes are one."""
    (tmp_path / "my_sim_module.py").write_text(
        "from archetype_core.engine import Processor\nfrom archetype_core.schema import Component\n"
        "class Leaf(Component):\n    area: float = 1.0\nclass Grow(Processor):\n    components = (Leaf,)\n"
    )
    monkeypatch.chdir(tmp_path)
    (only,) = load_templates("my_sim_module")
    assert (only.name, only.component_names, only.processor_names) == ("my_sim_module", ["Leaf"], ["Grow"])


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    """A missing file and a module with nothing to serve are errors that say so."""
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py"):
        load_templates(str(tmp_path / "nowhere.py"))
    (tmp_path / "nothing_here.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="nothing_here has no WorldTemplate"):
        load_templates(str(tmp_path / "nothing_here.py"))


def test_worlds_of_scripts_get_the_first_template_that_is_loaded(tmp_path: Path) -> None:
    """The built-in templates are for worlds that clients make; those of a script get what the operator loads."""
    assert load_templates(None).of_scripts() is None
    (tmp_path / "two_digs.py").write_text(
        "from archetype_server import WorldTemplate\nA = WorldTemplate('a')\nB = WorldTemplate('b')\n"
    )
    found = load_templates(str(tmp_path / "two_digs.py")).of_scripts()
    assert found is not None
    assert found.name == "a"
