"""What the journal's benchmarks share: directories, sizes on disk, memory, and the disk's own write as the floor."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def place(directory: Path | None) -> Iterator[Path]:
    """A new directory on the chosen disk, removed at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="archetype-bench-", dir=directory) as name:
        yield Path(name)


def bytes_on_disk(directory: Path) -> int:
    """The size of a directory's files on disk, in bytes, as ``du`` counts it."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def forget_cached(directory: Path) -> None:
    """Drop a directory's files from the page cache, so that the next read is from the disk."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def resident_bytes() -> int:
    """The resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def written_bytes() -> int:
    """The bytes that this process has written since it started, through ``write`` and similar calls."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


class Floor:
    """The least that a durable append can cost on this disk: one ``write`` to the end of a file, and one sync."""

    def __init__(self, directory: Path, size: int) -> None:
        self.size = size
        self._data = os.urandom(size)
        self._file = os.open(directory / f"floor-{size}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, sync: Callable[[int], None]) -> None:
        """Append and sync."""
        rest = memoryview(self._data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        sync(self._file)

    def work(self, sync: Callable[[int], None]) -> Callable[[], Awaitable[None]]:
        """The same as an async function, for benchmark rounds."""

        async def work() -> None:
            self.write(sync)

        return work

    def close(self) -> None:
        """Close the file. The caller removes its directory."""
        os.close(self._file)
