"""The log: one numbered file per commit; a commit counts from the moment its file exists.

A record names the version of each table that it changed and the row groups that it added. Files are created only where none
exists, so of two writers one gets a number and the other notices. A checkpoint now and then writes the whole state as one
file and merges row indexes, so the number of files stays small.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from archetype_core.errors import CommitError, CorruptStore
from archetype_store_lance.engine_errors import RecordInDoubt, WriteConflict, reading, writing
from archetype_store_lance.limits import Limits
from archetype_store_lance.log_files import LogFiles
from archetype_store_lance.record import CommitRecord, checksum, decode, encode
from archetype_store_lance.row_index import RowIndex, merge
from archetype_store_lance.state import RowIndexRef, StoreState

HEAD = "head"
"""The file with the number of the newest record: if that record is missing, it was lost."""
MISSING = "it is missing, or another file is in its place"
_COMMIT, _STATE, _INDEX = ".commit", ".state", ".index"


class Log:
    """Reads and writes the log of one store. ``place`` names the store in errors."""

    def __init__(self, files: LogFiles, place: str, limits: Limits | None = None) -> None:
        self.files = files
        self._place = place
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._state: StoreState | None = None
        self._indexes: OrderedDict[tuple[str, str], RowIndex] = OrderedDict()

    def exists(self) -> bool:
        """Whether there is a log; ``CorruptStore`` if there are files but no checkpoint to start from."""
        with reading(f"{self._place} log"):
            names = self.files.names()
        if any(name.endswith(_STATE) for name in names):
            return True
        if names and names != ["lock"]:
            raise CorruptStore(f"{self._place} log", "it has no checkpoint to start from")
        return False

    def state(self) -> StoreState:
        """The newest state; costs a listing of the log's files."""
        with self._lock, reading(f"{self._place} log"):
            while True:
                try:
                    self._state = self._read_newest(self._state)
                except FileNotFoundError:
                    # A checkpoint removed a file after it was listed.
                    self._state = None
                else:
                    return self._state

    def reread(self) -> StoreState:
        """The newest state, read from its checkpoint on: row indexes may have been merged into other files."""
        with self._lock:
            self._state = None
        return self.state()

    def newer(self, state: StoreState, failure: FileNotFoundError) -> StoreState:
        """The state to continue from after a file of ``state`` was missing; ``CorruptStore`` if it should be there."""
        newer = self.reread()
        if newer.indexes == state.indexes:
            raise CorruptStore(str(failure), MISSING) from failure
        return newer

    def index(self, ref: RowIndexRef) -> RowIndex:
        """A row index, from memory or from its file; ``FileNotFoundError`` once it is merged into another."""
        name, key = ref.name, (ref.name, ref.digest)
        with self._lock:
            found = self._indexes.get(key)
            if found is not None:
                self._indexes.move_to_end(key)
                return found
        with reading(self._where(name)):
            try:
                data = self.files.read(name)
            except FileNotFoundError:
                data = None
        if data is None:
            raise FileNotFoundError(self._where(name))
        index = RowIndex(decode(data, self._where(name)))
        if ref.digest != checksum(data):
            # Intact, but another file than the one referred to.
            raise FileNotFoundError(self._where(name))
        with self._lock:
            self._cache(name, ref.digest, index)
        return index

    def _read_newest(self, state: StoreState | None) -> StoreState:
        # Read before the listing: otherwise it may name a record that the listing does not have yet.
        head = self._read_head() if state is None else state.number
        names = self.files.names()
        commits = sorted(_number(name) for name in names if name.endswith(_COMMIT))
        checkpoints = sorted(_number(name) for name in names if name.endswith(_STATE))
        if state is None and not checkpoints:
            raise CorruptStore(f"{self._place} log", "it has no checkpoint to start from")
        if checkpoints and (state is None or checkpoints[-1] > state.generation):
            # Records before a checkpoint may be gone, or replaced by records that never counted.
            state = self._read_checkpoint(checkpoints[-1])
        assert state is not None
        newest = max([*commits[-1:], state.number])
        if newest < head:
            raise CorruptStore(f"{self._place} log", f"record {head} existed, and the newest is {newest}")
        known = state.number
        for number in range(known + 1, newest + 1):
            if number not in commits:
                raise CorruptStore(f"{self._place} log", f"record {number} is missing, and the newest is {newest}")
            state = self._apply(state, _name(number, _COMMIT))
        if state.number > known and not self.files.is_locked and self._last_checkpoint() > state.generation:
            # A checkpoint was written meanwhile, and records before a checkpoint may not count: read again.
            raise FileNotFoundError(_name(known + 1, _COMMIT))
        return state

    def _last_checkpoint(self) -> int:
        return max((_number(name) for name in self.files.names() if name.endswith(_STATE)), default=-1)

    def _read_head(self) -> int:
        try:
            text = self.files.read(HEAD)
        except FileNotFoundError:
            return -1
        try:
            return int(text)
        except ValueError:
            # Damaged. Only the check against a lost record is skipped.
            return -1

    def _read_checkpoint(self, generation: int) -> StoreState:
        name = _name(generation, _STATE)
        state = StoreState.from_json(decode(self.files.read(name), self._where(name)).header)
        if state.generation != generation:
            raise CorruptStore(self._where(name), f"it is checkpoint {state.generation}")
        return state

    def _apply(self, state: StoreState, name: str) -> StoreState:
        data = self.files.read(name)
        record = decode(data, self._where(name))
        if record.header["previous"] != state.digest or record.header["number"] != state.number + 1:
            raise CorruptStore(self._where(name), "it does not follow the record before it")
        digest = checksum(data)
        self._cache_record(name, digest, record)
        return state.after(record.header, name, digest)

    def _cache_record(self, name: str, digest: str, record: CommitRecord) -> None:
        if record.row_groups.num_rows or record.ticks.num_rows:
            self._cache(name, digest, RowIndex(record))

    def _cache(self, name: str, digest: str, index: RowIndex) -> None:
        self._indexes[name, digest] = index
        while len(self._indexes) > 1 and self._cached_bytes() > self._limits.index_cache_bytes:
            self._indexes.popitem(last=False)

    def _cached_bytes(self) -> int:
        return sum(one.nbytes for one in self._indexes.values())

    def begin(self) -> None:
        """Create an empty log, unless there is one."""
        with writing(f"{self._place} log"):
            self.files.create(_name(0, _STATE), encode(CommitRecord.of_header(StoreState().to_json())))

    def append(self, state: StoreState, header: Mapping[str, Any], record: CommitRecord) -> StoreState | None:
        """Create the record after a state, durable on return; ``None`` if another writer's record has its number.

        ``RecordInDoubt`` if it may count although this failed; after any other error it never does.
        """
        number = state.number + 1
        # A random token makes the bytes of each record unique, so a writer recognizes its own.
        header = {**header, "number": number, "previous": state.digest, "token": secrets.token_hex(8)}
        data = encode(CommitRecord(header, record.row_groups, record.ticks))
        name = _name(number, _COMMIT)
        with writing(self._where(name)):
            if not self._create_record(state, name, data):
                return None
        with self._lock:
            # Decoded as a reader would.
            made = state.after(decode(data, name).header, name, checksum(data))
            self._cache_record(name, checksum(data), record)
            if self._state is None or self._state.number < made.number:
                self._state = made
        # The commit counts already; this file only serves to notice a lost record.
        with suppress(OSError, CommitError, WriteConflict), writing(self._where(HEAD)):
            self.files.replace(HEAD, f"{number}\n".encode())
        return made

    def _create_record(self, state: StoreState, name: str, data: bytes) -> bool:
        """Create the record after a state; whether it counts."""
        failure: Exception | None = None
        try:
            created = self.files.create(name, data)
        except Exception as found:  # noqa: BLE001  # reason: raised again below, unless the record was created
            created, failure = False, found
        if failure is None and self.files.is_locked:
            return created
        try:
            counts = self._counts(state, data, created=created)
        except Exception as found:
            raise RecordInDoubt(f"{self._where(name)} may have been written or not: {failure or found}") from found
        if failure is None or counts:
            return counts
        if self.files.is_locked:
            raise failure
        # The request may still be on its way; another record with this number would stop it.
        raise RecordInDoubt(f"{self._where(name)} may have been written or not: {failure}") from failure

    def _counts(self, before: StoreState, data: bytes, *, created: bool) -> bool:
        """Whether the record that this writer tried to create after a state counts.

        Without a lock, another writer may have used the number, and a checkpoint may have removed that record before this one
        was created. Or the record is there although the request failed, because only the answer was lost.
        """
        number, digest = before.number + 1, checksum(data)
        while True:
            with suppress(FileNotFoundError):
                last = self._last_checkpoint()
                if last > before.generation and (checkpoint := self._read_checkpoint(last)).number >= number:
                    found = checkpoint.includes(number, digest)
                    if found is None:
                        raise CommitError(
                            f"{self._place}: too many commits followed to find out whether record {number} counts; "
                            "read the world's head before you commit again"
                        )
                    return found
                return created or self.files.read(_name(number, _COMMIT)) == data
            if not created and self._last_checkpoint() == last:
                return False

    def is_long(self, state: StoreState) -> bool:
        """Whether a checkpoint is due."""
        return sum(one.level == 0 for one in state.indexes) >= self._limits.checkpoint_records

    def checkpoint(self) -> None:
        """Write the newest state as one file, merge row indexes, and remove the files that this replaces.

        The caller holds the writers' lock. The state is read again, since another process may have merged row indexes that
        this one knows by their old files. Even without a lock each checkpoint number can be created only once, so
        checkpoints form one chain.
        """
        state = self.reread()
        if state.number == state.covered:
            return
        with writing(f"{self._place} log"):
            try:
                indexes = self._merged_indexes(state)
            except FileNotFoundError as failure:
                # Without a lock, another writer may have made a checkpoint meanwhile.
                self.newer(state, failure)
                return
            generation = state.generation + 1
            made = replace(state, indexes=tuple(indexes), generation=generation, covered=state.number)
            if not self.files.create(_name(generation, _STATE), encode(CommitRecord.of_header(made.to_json()))):
                return
            with self._lock:
                if self._state is not None and self._state.number == state.number:
                    self._state = made
            self._remove_replaced(made, state)

    def _remove_replaced(self, state: StoreState, before: StoreState) -> None:
        """Remove the files that a checkpoint does not need any more."""
        names = self.files.names()
        if any(name.endswith(_STATE) and _number(name) > state.generation for name in names):
            # A later checkpoint may use files that this one does not.
            return
        used = {one.name for one in state.indexes}
        old = [name for name in names if self._is_old(name, state) and name not in used]
        known = {one.name for one in before.indexes}
        # An index that neither state knows is a leftover, or belongs to a checkpoint that is being written.
        unknown = [name for name in old if name.endswith(_INDEX) and name not in known]
        kept = set(unknown) - set(self.files.unclaimed(unknown))
        self.files.remove([name for name in old if name not in kept])

    def _is_old(self, name: str, state: StoreState) -> bool:
        if name.endswith(_STATE):
            return _number(name) < state.generation
        return name.endswith((_COMMIT, _INDEX)) and _number(name) <= state.number

    def _merged_indexes(self, state: StoreState) -> list[RowIndexRef]:
        indexes = list(state.indexes)
        level = 0
        while True:
            tail = next((number for number, one in enumerate(indexes) if one.level <= level), len(indexes))
            group = indexes[tail:]
            if len(group) < (self._limits.merge_indexes if level else 1):
                return indexes
            indexes[tail:] = [self._merge(group, level + 1, state.number)]
            level += 1

    def _merge(self, refs: list[RowIndexRef], level: int, number: int) -> RowIndexRef:
        record = merge(self.index(one).record for one in refs)
        spans: dict[int, tuple[int, int]] = {}
        for ref in refs:
            for segment, (first, last) in ref.spans.items():
                spans[segment] = (spans[segment][0] if segment in spans else first, last)
        data = encode(CommitRecord({"indexes": len(refs)}, record.row_groups, record.ticks))
        digest = checksum(data)
        # The checksum in the name keeps apart what several writers merge at one number.
        name = f"{number:020}-{level}-{digest[:16]}{_INDEX}"
        while not self.files.create(name, data):
            with suppress(FileNotFoundError):
                if self.files.read(name) == data:
                    break
            self.files.remove([name])
        return RowIndexRef(name, level, spans, digest)

    def _where(self, name: str) -> str:
        return f"{self._place} log {name}"


def _name(number: int, suffix: str) -> str:
    return f"{number:020}{suffix}"


def _number(name: str) -> int:
    return int(name[:20])
