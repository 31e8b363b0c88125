"""Where a store is: a directory of this machine, or a prefix of an object store with the options to reach it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

_REMOTE = re.compile(r"(s3|s3a|gs|az|abfs|abfss|s3\+ddb|memory)://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """The root of a store. ``options`` are the object store's own, such as keys, region and endpoint."""

    root: str
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @classmethod
    def of(cls, uri: str | Path, options: Mapping[str, str] | None = None) -> Place:
        """The place that an address names, with or without ``lance:`` before it."""
        text = str(uri)
        if text.lower().startswith("lance:"):
            text = text[len("lance:") :]
        if not text:
            raise ValueError("the address names no place: say where the store is, as in lance:./data")
        if not isinstance(options, Mapping | None):
            raise TypeError(f"storage_options is a mapping of the object store's options, not {options!r}")
        given = {str(key): str(value) for key, value in (options or {}).items()}
        if _REMOTE.match(text):
            return cls(text.rstrip("/"), MappingProxyType(given))
        if given:
            raise ValueError(f"{text} is a directory of this machine, for which there are no storage options")
        if text.lower().startswith("file://"):
            text = text[len("file://") :]
        elif text.startswith("//") and str(uri).lower().startswith("lance:"):
            raise ValueError(f"{uri} names no object store and no directory; did you mean lance:.{text[1:]}?")
        if not text.isprintable():
            raise ValueError(f"{text!r} has characters that cannot be printed, which the engine takes in no path")
        return cls(str(Path(text).absolute()))

    @property
    def local(self) -> Path | None:
        """The directory, if it is one of this machine."""
        return None if _REMOTE.match(self.root) else Path(self.root)

    def __str__(self) -> str:
        return self.root
