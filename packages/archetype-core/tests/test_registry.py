"""Finding stores and kernels by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from archetype_core.adapter import KERNELS, STORES
from archetype_core.config import RunConfig, StorageConfig
from archetype_core.engine import PythonKernel, load_kernel
from archetype_core.errors import AdapterMissing, StoreClosed, UnknownScheme
from archetype_core.store import MemoryStore, Segment, TickCommit, open_store

FAKE = {"fake": EntryPoint("fake", "test_registry:open_fake", STORES)}


def open_fake(uri: str, **options: Any) -> tuple[str, dict[str, Any]]:
    """The arguments of an adapter."""
    return uri, options


def test_memory_needs_no_adapter() -> None:
    """memory: is a new store each time, memory:name one per name (S1)."""
    one, two = open_store("memory:"), open_store("memory:")
    assert isinstance(one, MemoryStore)
    assert isinstance(two, MemoryStore)
    one.commit((TickCommit(Segment("w", "r", 0, None, "w", 1), 0, {}, 1),))
    assert two.worlds() == ()
    named = [open_store(uri) for uri in ("memory:shelf", "memory:shelf", "memory:/shelf")]
    assert {one.name for one in named if isinstance(one, MemoryStore)} == {"shelf"}
    named[0].close()
    with pytest.raises(StoreClosed):
        named[0].worlds()
    assert named[1].worlds() == ()
    MemoryStore.forget("shelf")


def test_schemes_choose_the_adapter() -> None:
    """The scheme, or the backend if one is named, says which entry point opens the store, with its options."""
    assert open_store("fake:./data", adapters=FAKE) == ("fake:./data", {})
    assert open_store("FAKE:./data", adapters=FAKE) == ("FAKE:./data", {})
    config = StorageConfig(uri="./data", backend="fake", options={"a": 1})
    assert open_store(config, adapters=FAKE) == ("./data", {"a": 1})


def open_existing(uri: str, *, create: bool = True) -> tuple[str, bool]:
    """The arguments of an adapter that can refuse a place without a store."""
    return uri, create


def test_adapters_are_told_to_create_nothing() -> None:
    """``create=False`` reaches every opener that takes it; memory and other openers open as always (S7)."""
    adapters = {**FAKE, "existing": EntryPoint("existing", "test_registry:open_existing", STORES)}
    assert open_store("existing:x", adapters=adapters) == ("existing:x", True)
    assert open_store("existing:x", create=False, adapters=adapters) == ("existing:x", False)
    assert isinstance(open_store("memory:", create=False), MemoryStore)
    with pytest.raises(ValueError, match="'created'; it has no options"):
        open_store(StorageConfig("existing:x", options={"created": 1}), adapters=adapters)


def open_plain(uri: str) -> str:
    """The argument of an adapter that always creates."""
    return uri


def test_adapters_without_create_open_as_always() -> None:
    """An opener that does not take ``create`` is called without it."""
    adapters = {"plain": EntryPoint("plain", "test_registry:open_plain", STORES)}
    assert open_store("plain:x", create=False, adapters=adapters) == "plain:x"


def test_options_that_an_adapter_does_not_take_are_named() -> None:
    """A misspelt option is refused before anything is opened, and the error lists the options."""
    with pytest.raises(ValueError, match="'pth'; it has no options"):
        open_store(StorageConfig(uri="memory:", options={"pth": 1}))


def test_bare_paths_are_the_embedded_store() -> None:
    """A path without a scheme, also one with a drive letter, opens the embedded store."""
    adapters = {"lance": EntryPoint("lance", "test_registry:open_fake", STORES)}
    for path in ("./data", "data", "C:\\data", "/srv/x", Path("some") / "where"):
        assert open_store(path, adapters=adapters) == (str(path), {})


@pytest.mark.parametrize(
    ("uri", "package"),
    [
        ("lance:./x", "archetype-store-lance"),
        ("./x", "archetype-store-lance"),
        ("iceberg:x", "archetype-store-iceberg"),
        ("parquet:x", "archetype-native"),
    ],
)
def test_missing_adapters_of_ours_name_their_package(uri: str, package: str) -> None:
    """A missing adapter of this project is an error that says what to install."""
    with pytest.raises(AdapterMissing, match=package) as caught:
        open_store(uri, adapters={})
    assert caught.value.kind == "store"
    assert isinstance(caught.value, ImportError)


def test_unknown_schemes_name_the_known_ones() -> None:
    """The error for an unknown scheme lists the installed schemes."""
    with pytest.raises(UnknownScheme) as caught:
        open_store("gopher:x", adapters=FAKE)
    assert (caught.value.scheme, caught.value.known) == ("gopher", ("fake", "memory"))


def test_kernels() -> None:
    """The name python is built in, an instance is returned as it is, other names come from entry points or are AdapterMissing."""
    assert isinstance(load_kernel("python"), PythonKernel)
    kernel = PythonKernel()
    assert load_kernel(kernel) is kernel
    with pytest.raises(AdapterMissing, match="archetype-native"):
        load_kernel("native", adapters={})
    with pytest.raises(AdapterMissing, match="python"):
        load_kernel("abacus", adapters={})
    adapters = {"abacus": EntryPoint("abacus", "archetype_core.engine:PythonKernel", KERNELS)}
    assert isinstance(load_kernel("abacus", adapters=adapters), PythonKernel)


def test_run_configs_are_checked() -> None:
    """Steps must be 0 or more, and a run id a non-empty text (R1)."""
    for steps in (-1, 1.0, True, "1", None):
        with pytest.raises(ValueError, match="steps"):
            RunConfig(steps=steps)  # type: ignore[arg-type]  # reason: this is what is refused
    for run_id in ("", 3):
        with pytest.raises(ValueError, match="run_id"):
            RunConfig(run_id=run_id)  # type: ignore[arg-type]  # reason: this is what is refused
    assert RunConfig(steps=0) == RunConfig(steps=0)


def test_a_namespace_is_a_place_of_its_own() -> None:
    """Worlds of one namespace are invisible in another, in any store; an invalid name is refused (S5)."""
    stores = [open_store(StorageConfig("memory:spaced", namespace=name)) for name in ("default", "one", "two", "one")]
    segment = Segment("w", "r", 0, None, "w", 1)
    stores[1].commit((TickCommit(segment, 0, {}, 1),))
    assert [len(one.worlds()) for one in stores] == [0, 1, 0, 1]
    for one in stores:
        one.close()
    for wrong in ("", "..", "a/b", ".hidden"):
        with pytest.raises(ValueError, match="namespace"):
            StorageConfig("memory:", namespace=wrong)
    MemoryStore.forget("spaced")
    MemoryStore.forget("spaced/one")
    MemoryStore.forget("spaced/two")
