"""The log: one small file per commit, numbered without gaps, whose creation is the moment a commit counts.

A file says at which version each table stands from then on and where the new rows lie. Files are made only where there is
none, so of two writers one gets a number and the other is told. Now and then the state is written down whole and what
said where rows lie is merged into larger blocks, eight of a kind at a time, so that there are never many files.
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
from archetype_store_lance.engine import reading, writing
from archetype_store_lance.log_files import Shelf
from archetype_store_lance.record import CommitRecord, decode, digest_of, encode
from archetype_store_lance.row_index import Block, merged
from archetype_store_lance.state import BlockRef, State

HEAD = "head"
_COMMIT, _STATE, _BLOCK = ".commit", ".state", ".block"
GONE = "it is not there, or another is in its place"
CHECKPOINT = 64
"""So many records may follow a state before the next one is written down."""
_FAN = 8
_CACHED = 64 << 20


class Log:
    """Reads and writes the log of one place. Writers keep one another out, or find their number taken."""

    def __init__(self, shelf: Shelf, place: str) -> None:
        self._shelf = shelf
        self._place = place
        self._lock = threading.Lock()
        self._state: State | None = None
        self._blocks: OrderedDict[tuple[str, str], Block] = OrderedDict()

    @property
    def shelf(self) -> Shelf:
        return self._shelf

    def exists(self) -> bool:
        """Whether there is a log; one that lost all but its end is no log, and that is damage."""
        with reading(f"{self._place} log"):
            names = self._shelf.names()
        if any(name.endswith(_STATE) for name in names):
            return True
        if names and names != ["lock"]:
            raise CorruptStore(f"{self._place} log", "the files that say how it began are gone")
        return False

    def begin(self) -> None:
        """Make an empty log, if there is none."""
        with writing(f"{self._place} log"):
            self._shelf.create(_name(0, _STATE), encode(CommitRecord.plain(State().to_json())))

    def state(self) -> State:
        """The newest state; costs a look at the names of the log's files."""
        with self._lock, reading(f"{self._place} log"):
            while True:
                try:
                    self._state = self._newest(self._state)
                except FileNotFoundError:
                    # It was merged away since its name was read.
                    self._state = None
                else:
                    return self._state

    def anew(self) -> State:
        """The newest state, read from the beginning: what it refers to may have been merged into other files."""
        with self._lock:
            self._state = None
        return self.state()

    def fresher(self, state: State, failure: FileNotFoundError) -> State:
        """The state after a file was not found; ``CorruptStore`` if it should still be there."""
        newer = self.anew()
        if newer.blocks == state.blocks:
            raise CorruptStore(str(failure), GONE) from failure
        return newer

    def _newest(self, state: State | None) -> State:
        # Asked for before the names, so that it cannot know of more than they do.
        told = self._told() if state is None else state.number
        names = self._shelf.names()
        commits = sorted(_number(name) for name in names if name.endswith(_COMMIT))
        states = sorted(_number(name) for name in names if name.endswith(_STATE))
        if state is None and not states:
            raise CorruptStore(f"{self._place} log", "the files that say how it began are gone")
        if states and (state is None or states[-1] > state.generation):
            # Of what was written down whole the records may be gone, or others in their place that never counted.
            state = self._whole(states[-1])
        assert state is not None
        newest = max([*commits[-1:], state.number])
        if newest < told:
            raise CorruptStore(f"{self._place} log", f"record {told} was there, and the newest now is {newest}")
        known = state.number
        for number in range(known + 1, newest + 1):
            if number not in commits:
                raise CorruptStore(f"{self._place} log", f"record {number} is missing, the newest is {newest}")
            state = self._next(state, _name(number, _COMMIT))
        if state.number > known and not self._shelf.is_locked and self._generation() > state.generation:
            # Written down meanwhile, so it holds for these as well.
            raise FileNotFoundError(_name(known + 1, _COMMIT))
        return state

    def _generation(self) -> int:
        """How often the state was written down."""
        return max((_number(name) for name in self._shelf.names() if name.endswith(_STATE)), default=-1)

    def _told(self) -> int:
        try:
            text = self._shelf.read(HEAD)
        except FileNotFoundError:
            return -1
        try:
            return int(text)
        except ValueError:
            # A hint that a power cut tore says nothing.
            return -1

    def _whole(self, generation: int) -> State:
        name = _name(generation, _STATE)
        state = State.from_json(decode(self._shelf.read(name), self._where(name)).header)
        if state.generation != generation:
            raise CorruptStore(self._where(name), f"it is generation {state.generation}")
        return state

    def _next(self, state: State, name: str) -> State:
        data = self._shelf.read(name)
        record = decode(data, self._where(name))
        if record.header["previous"] != state.digest or record.header["number"] != state.number + 1:
            raise CorruptStore(self._where(name), "it does not follow the record before it")
        digest = digest_of(data)
        if record.tiles.num_rows or record.marks.num_rows:
            self._keep(name, digest, Block(record))
        return state.after(record.header, name, digest)

    def append(self, state: State, header: Mapping[str, Any], record: CommitRecord) -> State | None:
        """Make the record that follows a state, durable when this returns; ``None`` if another one has its number."""
        number = state.number + 1
        # No two attempts are the same bytes, so that each is known for what it is.
        header = {**header, "number": number, "previous": state.digest, "attempt": secrets.token_hex(8)}
        data = encode(CommitRecord(header, record.tiles, record.marks))
        name = _name(number, _COMMIT)
        with writing(self._where(name)):
            if not self._made(state, name, data):
                return None
        with self._lock:
            # Exactly as a reader would see it.
            made = state.after(decode(data, name).header, name, digest_of(data))
            if record.tiles.num_rows or record.marks.num_rows:
                self._keep(name, digest_of(data), Block(record))
            if self._state is None or self._state.number < made.number:
                self._state = made
        # It only says that a record was there, should it ever be gone. The commit stands without it.
        with suppress(OSError, CommitError), writing(self._where(HEAD)):
            self._shelf.replace(HEAD, f"{number}\n".encode())
        return made

    def _made(self, state: State, name: str, data: bytes) -> bool:
        """Make the record after a state; whether it is one that everybody sees."""
        if self._shelf.is_locked:
            return self._shelf.create(name, data)
        failure: Exception | None = None
        try:
            created = self._shelf.create(name, data)
        except Exception as found:  # noqa: BLE001  # reason: raised again below, unless it was made all the same
            created, failure = False, found
        counts = self._counts(state, data, created=created)
        if failure is not None and not counts:
            raise failure
        return counts

    def _counts(self, before: State, data: bytes, *, created: bool) -> bool:
        """Whether a record that may have been made after a state counts.

        Without a lock its number may have been another's, which was written down whole and removed since this writer looked;
        or its own, where the answer to a request was lost.
        """
        number, digest = before.number + 1, digest_of(data)
        while True:
            with suppress(FileNotFoundError):
                generation = self._generation()
                if generation > before.generation and (whole := self._whole(generation)).number >= number:
                    found = whole.has(number, digest)
                    if found is None:
                        told = f"too much was written meanwhile to tell whether record {number} counts"
                        raise CommitError(f"{self._place}: {told}")
                    return found
                return created or self._shelf.read(_name(number, _COMMIT)) == data
            if not created and self._generation() == generation:
                return False

    def block(self, ref: BlockRef) -> Block:
        """Where rows lie, from memory or from its file; ``FileNotFoundError`` once it is merged into another."""
        name, key = ref.name, (ref.name, ref.digest)
        with self._lock:
            found = self._blocks.get(key)
            if found is not None:
                self._blocks.move_to_end(key)
                return found
        with reading(self._where(name)):
            try:
                data = self._shelf.read(name)
            except FileNotFoundError:
                data = None
        if data is None:
            raise FileNotFoundError(self._where(name))
        block = Block(decode(data, self._where(name)))
        if ref.digest not in ("", digest_of(data)):
            # Whole in itself, and not the one that is referred to.
            raise FileNotFoundError(self._where(name))
        with self._lock:
            self._keep(name, ref.digest, block)
        return block

    def _keep(self, name: str, digest: str, block: Block) -> None:
        self._blocks[name, digest] = block
        while len(self._blocks) > 1 and sum(one.weight for one in self._blocks.values()) > _CACHED:
            self._blocks.popitem(last=False)

    # Keeping it short.

    def is_long(self, state: State, times: int = 1) -> bool:
        """Whether it is time to write the state down."""
        return sum(block.level == 0 for block in state.blocks) >= CHECKPOINT * times

    def checkpoint(self) -> None:
        """Write the newest state down, with the blocks merged, and remove the files that it replaces.

        The caller holds the writers' lock. The state is read anew: another process may have merged blocks that this one
        still knows by the files that they were in. Where there is no lock, of several who go on from one generation one
        makes the next, so whatever comes later builds on what this leaves.
        """
        state = self.anew()
        if state.number == state.covered:
            return
        with writing(f"{self._place} log"):
            try:
                blocks = self._merged(state)
            except FileNotFoundError as failure:
                # Where there is no lock, another writer may be doing the same, and be done.
                self.fresher(state, failure)
                return
            generation = state.generation + 1
            made = replace(state, blocks=tuple(blocks), generation=generation, covered=state.number)
            if not self._shelf.create(_name(generation, _STATE), encode(CommitRecord.plain(made.to_json()))):
                return
            with self._lock:
                if self._state is not None and self._state.number == state.number:
                    self._state = made
            self.tidy(made, state)

    def tidy(self, state: State, before: State) -> None:
        """Remove the files that a state that was written down has no use for, and the one before had."""
        names = self._shelf.names()
        if any(name.endswith(_STATE) and _number(name) > state.generation for name in names):
            # Whoever went on from it, or overtook it, may use them.
            return
        used = {one.name for one in state.blocks}
        old = [name for name in names if self._is_old(name, state) and name not in used]
        known = {one.name for one in before.blocks}
        # A block that neither has was left behind, or is about to be used.
        strangers = [name for name in old if name.endswith(_BLOCK) and name not in known]
        kept = set(strangers) - set(self._shelf.idle(strangers))
        self._shelf.remove([name for name in old if name not in kept])

    def _is_old(self, name: str, state: State) -> bool:
        if name.endswith(_STATE):
            return _number(name) < state.generation
        return name.endswith((_COMMIT, _BLOCK)) and _number(name) <= state.number

    def _merged(self, state: State) -> list[BlockRef]:
        blocks = list(state.blocks)
        level = 0
        while True:
            tail = next((index for index, one in enumerate(blocks) if one.level <= level), len(blocks))
            alike = blocks[tail:]
            if len(alike) < (_FAN if level else 1):
                return blocks
            blocks[tail:] = [self._merge(alike, level + 1, state.number)]
            level += 1

    def _merge(self, refs: list[BlockRef], level: int, number: int) -> BlockRef:
        record = merged(self.block(one).record for one in refs)
        spans: dict[int, tuple[int, int]] = {}
        for ref in refs:
            for branch, (first, last) in ref.spans.items():
                spans[branch] = (spans[branch][0] if branch in spans else first, last)
        data = encode(CommitRecord({"blocks": len(refs)}, record.tiles, record.marks))
        digest = digest_of(data)
        # Others that do the same at this moment, or were killed while they did, may have merged more or fewer.
        name = f"{number:020}-{level}-{digest[:16]}{_BLOCK}"
        while not self._shelf.create(name, data):
            with suppress(FileNotFoundError):
                if self._shelf.read(name) == data:
                    break
            self._shelf.remove([name])
        return BlockRef(name, level, spans, digest)

    def _where(self, name: str) -> str:
        return f"{self._place} log {name}"


def _name(number: int, suffix: str) -> str:
    return f"{number:020}{suffix}"


def _number(name: str) -> int:
    return int(name[:20])
