"""How a server is set up: where it listens, what it stores where, and its limits."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from archetype_core.config import StorageConfig
from archetype_core.store import has_embedded_store
from archetype_gate import Quotas
from archetype_server.token_config import TokenConfig

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_NAMES_OF_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def default_storage() -> StorageConfig:
    """Return the storage of a server that names none: ``./archetype-data``, as a script's."""
    return StorageConfig(uri="./archetype-data" if has_embedded_store() else "journal:./archetype-data")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all of them together, may use."""

    body_bytes: int = 8 * 1024 * 1024
    body_depth: int = 64
    """How deep arrays and objects of a body may be nested."""
    body_s: float = 30.0
    """How long a client may take to send a body."""
    rows: int = 1_000_000
    """Rows of one answer."""
    steps: int = 100_000
    """Ticks of one request, over all its episodes."""
    entities: int = 100_000
    """Entities of one request."""
    jobs: int = 100
    """Long jobs that wait or run at a time."""
    jobs_of_one: int = 10
    """Of these, those of one actor."""
    jobs_at_once: int = 8
    """Of these, those that run."""
    job_bytes: int = 32 * 1024 * 1024
    """Results of ended jobs that are kept for one actor, the newest one whatever its size."""
    streams: int = 1000
    """Event streams that are open at a time."""
    stream_rows: int = 10_000
    """How many settled commands an event stream may be behind before it is ended."""
    send_s: float = 60.0
    """How long a client may read nothing of an answer before its connection is closed."""
    requests_per_s: float = 200.0
    """Requests of one actor, in the long run; of one address, for those without a valid key."""
    burst: int = 400
    """Requests of one actor at once."""
    drain_s: float = 10.0
    """How long a stopping server waits for the requests that it has."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where a server listens and stores. ``state`` is its own directory, by default ``<storage>-server``.

    ``allowed_hosts`` are names of the ``Host`` header besides those of the loopback interface and ``host`` itself. With
    ``is_dev`` callers without a key choose their role, which is refused unless ``host`` is a loopback address.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    storage: StorageConfig = field(default_factory=default_storage)
    state: Path | None = None
    load: str | None = None
    is_dev: bool = False
    tokens: TokenConfig | None = None
    """Whose JSON Web Tokens are taken beside API keys; ``None`` is nobody's."""
    allowed_hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    quotas: Quotas = field(default_factory=Quotas)
    """What each actor may do, as the gate counts it."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port is a number from 0 to 65535, not {self.port!r}")
        if self.is_dev and not is_loopback(self.host):
            raise ValueError(
                f"dev mode lets everybody who reaches the server be admin, so it needs a loopback address, not {self.host}"
            )

    @property
    def state_directory(self) -> Path:
        """The directory of the server's own files; ``ValueError`` if the storage has no local path and none is given."""
        if self.state is not None:
            return self.state
        if (place := self._local()) is None:
            raise ValueError(f"{self.storage.uri} is not a local directory: pass state=… for the server's own files")
        return _beside(place)

    @property
    def lock_directory(self) -> Path | None:
        """Where servers of a local storage find one another, whatever state directories and links they have."""
        place = self._local()
        return None if place is None else _beside(place.resolve())

    def _local(self) -> Path | None:
        """The directory of a storage that has one."""
        found = _SCHEME.match(self.storage.address)
        rest = self.storage.address[found.end() :] if found else self.storage.address
        if not rest or "//" in rest or self.storage.address.startswith("memory:"):
            return None
        return Path(rest).absolute()

    @property
    def hosts(self) -> frozenset[str]:
        """The names of the ``Host`` header that are answered."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return frozenset(one.lower() for one in (*_NAMES_OF_LOOPBACK, own, *self.allowed_hosts))


def _beside(place: Path) -> Path:
    return place.with_name(f"{place.name}-server")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
