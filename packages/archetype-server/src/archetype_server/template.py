"""World templates: what a server's worlds are made of, by name. Code comes from the operator's module, never over the wire."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from archetype_core.argument import nearest
from archetype_core.engine import Hook, Parts, Processor, hook_pairs
from archetype_core.schema import Component
from archetype_server.problem import NotHere

BUILT_IN = "archetype_server.movement"


@dataclass(frozen=True, slots=True)
class WorldTemplate:
    """How worlds of a name are declared.

    Processors and resources are objects, which all worlds share, or classes, of which every world gets its own.

    >>> template = WorldTemplate("town", processors=[Walk, Infect], components=[Person], resources=[Weather])
    """

    name: str
    components: Iterable[type[Component]] = ()
    processors: Iterable[Processor | type[Processor]] = ()
    resources: Iterable[object] = ()
    hooks: Iterable[Hook] = ()
    handlers: Mapping[str, Callable[[Any, Any], None]] = field(default_factory=dict)

    def parts(self) -> Parts:
        """Return the parts of one world."""
        return Parts(
            components=tuple(self.components),
            processors=tuple(_made(one) for one in self.processors),
            resources=tuple(_made(one) for one in self.resources),
            hooks=hook_pairs(self.hooks),
            handlers=dict(self.handlers),
        )

    @property
    def component_names(self) -> list[str]:
        """The components that the template or its processors name."""
        named = {one.__name__ for one in self.components}
        return sorted(named.union(*({kind.__name__ for kind in one.components} for one in self.processors)))

    @property
    def processor_names(self) -> list[str]:
        """The classes of its processors."""
        return [one.__name__ if isinstance(one, type) else type(one).__name__ for one in self.processors]


def _made(part: Any) -> Any:
    return part() if isinstance(part, type) else part


class Templates:
    """The templates of a server. The first one is that of worlds whose creator names none.

    It is also that of worlds which a script has made, unless the templates are the built-in ones.
    """

    def __init__(self, templates: Iterable[WorldTemplate], *, is_built_in: bool = False) -> None:
        self._is_built_in = is_built_in
        self._by_name: dict[str, WorldTemplate] = {}
        for one in templates:
            if one.name in self._by_name:
                raise ValueError(f"two templates are named {one.name!r}: rename one")
            self._by_name[one.name] = one
        if not self._by_name:
            raise ValueError("a server needs a template")

    def find(self, name: str | None) -> WorldTemplate:
        """Return a template by name, or the first; ``NotHere`` lists those there are."""
        if name is None:
            return next(iter(self._by_name.values()))
        if name not in self._by_name:
            raise NotHere(
                f"this server has no template {name!r}{nearest(name, self._by_name)}; it has {', '.join(self._by_name)}"
            )
        return self._by_name[name]

    def get(self, name: str | None) -> WorldTemplate | None:
        """Return a template by name, if the server has it."""
        return self._by_name.get(name) if name is not None else None

    def of_scripts(self) -> WorldTemplate | None:
        """Return the template of worlds that were not made by a server, if the operator has loaded one."""
        return None if self._is_built_in else self.find(None)

    def __iter__(self) -> Any:
        return iter(self._by_name.values())


def load_templates(source: str | None) -> Templates:
    """Import a module, or a file with a name ending in ``.py``, and return its templates.

    These are the ``WorldTemplate`` objects of the module. A module without any is a template itself: its name, and all component
    and processor classes that it defines. Without a source they are those of a small built-in module.
    """
    module = _imported(source or BUILT_IN)
    declared = [one for one in vars(module).values() if isinstance(one, WorldTemplate)]
    return Templates(declared or [_of_module(module)], is_built_in=source is None)


def _imported(source: str) -> ModuleType:
    if not source.endswith(".py"):
        # A module of the directory that the server is started in, as with `python -m`.
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.insert(0, here)
        return importlib.import_module(source)
    path = Path(source).absolute()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: correct --load")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    # What it imports from beside it.
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module


def _of_module(module: ModuleType) -> WorldTemplate:
    own = [
        one
        for one in vars(module).values()
        if inspect.isclass(one) and one.__module__ == module.__name__ and not inspect.isabstract(one)
    ]
    components = [one for one in own if issubclass(one, Component)]
    processors = [one for one in own if issubclass(one, Processor)]
    if not components and not processors:
        raise ValueError(
            f"{module.__name__} has no WorldTemplate, and no component or processor class either: "
            "declare one, such as TEMPLATE = WorldTemplate('town', processors=[Walk])"
        )
    return WorldTemplate(module.__name__.rpartition(".")[2], components, processors)
