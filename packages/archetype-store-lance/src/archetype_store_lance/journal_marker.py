"""The marker in a local store's log that names its journal, so that a lost journal is noticed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from archetype_journal import has_journal
from archetype_store_lance.log_files import DIRECTORY, LogFiles

JOURNAL = "journal"
"""The name of the marker."""


class JournalMarker:
    """Reads and writes the marker of the store in a local directory."""

    def __init__(self, files: LogFiles, directory: Path) -> None:
        self._files = files
        self._directory = directory

    @property
    def path(self) -> Path:
        """The marker's file. Remove it to open a store whose journal is lost."""
        return self._directory / DIRECTORY / JOURNAL

    def journal(self) -> Path | None:
        """The journal that the store was last opened with, whether it still exists or not; ``None`` if it never had one."""
        text = self._read()
        return None if text is None else self._directory / text

    def is_lost(self, journal: Path) -> bool:
        """Whether the marker names this journal and its directory holds none."""
        # Read in this order: another process that opens the store makes the journal first and the marker second.
        return self._read() == self._text(journal) and not has_journal(journal)

    def write(self, journal: Path) -> None:
        """Name a journal. A failure is ignored: the store is usable without the marker."""
        text = self._text(journal)
        with suppress(OSError):
            if self._read() != text:
                self._files.replace(JOURNAL, text.encode())

    def _read(self) -> str | None:
        try:
            return self._files.read(JOURNAL).decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def _text(self, journal: Path) -> str:
        """The journal's path, relative if it lies in the store's directory, which may be moved."""
        path = journal.absolute()
        return str(path.relative_to(self._directory) if path.is_relative_to(self._directory) else path)
