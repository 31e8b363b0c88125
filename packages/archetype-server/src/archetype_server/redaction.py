"""Hides where a server has its files: no client's business, whatever an error or an audit row says."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import Any

from archetype_server.config import ServerConfig


class Redaction:
    """Replaces the paths of one server in texts: its storage, its state, and the directories that its code comes from."""

    def __init__(self, config: ServerConfig) -> None:
        storage = config.storage.address
        names = {config.storage.uri: "<storage>", storage: "<storage>"}
        # The address without its scheme, as files are named.
        local = storage.partition(":")[2] or storage
        if local and not local.startswith("//"):
            names |= {local: "<storage>", str(Path(local).absolute()): "<storage>"}
        # A storage that is no directory has none, and then no server starts.
        with contextlib.suppress(ValueError):
            names[str(config.state_directory.absolute())] = "<state>"
        for place in (Path.cwd(), Path.home(), Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1]):
            names.setdefault(str(place), "<path>")
        # A short name, such as that of the root directory, is part of too much else.
        self._names = {name: shown for name, shown in names.items() if len(name) > 4}
        longest_first = sorted(self._names, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def text(self, text: str) -> str:
        """Return a text without paths."""
        return self._pattern.sub(lambda found: self._names[found[0]], text)

    def data(self, data: Any) -> Any:
        """Return JSON data without paths."""
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, dict):
            return {name: self.data(one) for name, one in data.items()}
        return [self.data(one) for one in data] if isinstance(data, list | tuple) else data
