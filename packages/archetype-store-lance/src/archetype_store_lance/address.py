"""Parses the address of a store: a local directory, or a prefix in an object store with its connection options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

_REMOTE = re.compile(r"(s3|s3a|gs|az|abfs|abfss|s3\+ddb|memory)://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Address:
    """The root of a store. ``options`` go to the object store client: keys, region, endpoint."""

    root: str
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @classmethod
    def parse(cls, uri: str | Path, options: Mapping[str, str] | None = None) -> Address:
        """Parse an address with or without the ``lance:`` scheme; ``ValueError`` or ``TypeError`` if it makes no sense."""
        text = str(uri)
        if text.lower().startswith("lance:"):
            text = text[len("lance:") :]
        if not text:
            raise ValueError("the address is empty: give the place of the store, as in lance:./data")
        if not isinstance(options, Mapping | None):
            raise TypeError(f"storage_options must be a mapping of object store options, not {options!r}")
        given = {str(key): str(value) for key, value in (options or {}).items()}
        if _REMOTE.match(text):
            return cls(text.rstrip("/"), MappingProxyType(given))
        if given:
            raise ValueError(f"{text} is a local directory, which takes no storage options: remove them")
        if text.lower().startswith("file://"):
            text = text[len("file://") :]
        elif text.startswith("//") and str(uri).lower().startswith("lance:"):
            raise ValueError(f"{uri} is neither an object store nor a directory; did you mean lance:.{text[1:]}?")
        if not text.isprintable():
            raise ValueError(f"the path {text!r} contains characters that cannot be printed, which Lance refuses")
        return cls(str(Path(text).absolute()))

    @property
    def local(self) -> Path | None:
        """The local directory, or ``None`` for an object store."""
        return None if _REMOTE.match(self.root) else Path(self.root)

    def __str__(self) -> str:
        return self.root
