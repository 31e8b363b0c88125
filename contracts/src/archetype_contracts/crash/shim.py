"""The fault shim: it is compiled on first use, preloaded into a process, and armed there for one directory."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from archetype_contracts.crash.case import Fault, Kind

SOURCE = Path(__file__).with_name("fault.c")

_KINDS = {Kind.KILL_BEFORE: 1, Kind.KILL_AFTER: 2, Kind.FAIL: 3, Kind.SHORT: 4}
_MACHINES = ("x86_64", "aarch64")
_RING, _LINE = 48, 160


class ShimMissing(RuntimeError):
    """The shim cannot be built, is not preloaded, or does not work on this system."""


def library() -> Path:
    """The path of the compiled shim; compiles it unless this source is compiled already."""
    if not sys.platform.startswith("linux"):
        raise ShimMissing(
            f"the fault shim needs Linux and glibc, this is {sys.platform}: run the crash contract on Linux"
        )
    if os.uname().machine not in _MACHINES:
        raise ShimMissing(
            f"the fault shim needs {' or '.join(_MACHINES)}, this is {os.uname().machine}: use such a machine"
        )
    source = SOURCE.read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archetype-contracts"
    name = f"fault-{hashlib.sha256(source).hexdigest()[:16]}-{os.uname().machine}.so"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        built = cache / name
    except OSError:
        built = Path(tempfile.mkdtemp(prefix="archetype-fault-")) / name
    if not built.exists():
        _compile(built)
    return built


def _compile(target: Path) -> None:
    wanted = os.environ.get("CC")
    compiler = shutil.which(wanted) if wanted else shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise ShimMissing(
            "the crash contract compiles a small C library and found no compiler: "
            "install one (on Debian and Ubuntu `apt-get install gcc libc6-dev`), or name it in CC"
        )
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / target.name
        command = [compiler, "-shared", "-fPIC", "-O2", "-fvisibility=hidden", "-o", str(made), str(SOURCE)]
        run = subprocess.run([*command, "-ldl", "-lpthread"], capture_output=True, text=True, check=False)  # noqa: S603  # reason: the user's own compiler
        if run.returncode:
            raise ShimMissing(
                f"{compiler} could not compile {SOURCE.name}; install the headers of libc if they are missing:\n{run.stderr}"
            )
        # Another process may compile it at the same time; the result is the same.
        made.replace(target)


class _SharedPage(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_uint64),
        ("fired", ctypes.c_uint64),
        ("fired_ns", ctypes.c_uint64),
        ("ring", (ctypes.c_char * _LINE) * _RING),
    )


class Shim:
    """The preloaded shim of this process and its forked children, which share one counter.

    The filter of system calls stays active until the process ends, so arm the shim only in a child.
    """

    def __init__(self) -> None:
        # The library is loaded already, so its functions are found like those of libc.
        self._library = ctypes.CDLL(None, use_errno=True)
        try:
            board = self._library.archetype_fault_board
        except AttributeError:
            raise ShimMissing("the fault shim is not preloaded: start this process with ForkClient") from None
        why = self._library.archetype_fault_missing
        why.restype = ctypes.c_char_p
        missing = why()
        if missing:
            raise ShimMissing(f"the fault shim cannot work here: {missing.decode()}")
        board.restype = ctypes.POINTER(_SharedPage)
        self._page = board().contents
        arm = self._library.archetype_fault_arm
        arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_uint]
        arm.argtypes += [ctypes.c_int, ctypes.c_int, ctypes.c_int]

    def reset(self) -> None:
        """Set the count to zero."""
        self._library.archetype_fault_reset()

    def arm(self, root: Path, fault: Fault | None) -> None:
        """Count calls below a directory from now on, and cause the fault at its call."""
        fault = fault or Fault(Kind.NOTHING, 0)
        what = _KINDS.get(fault.kind, 0)
        arguments = (what, fault.call, fault.classes, int(fault.stays), fault.error, 1)
        if self._library.archetype_fault_arm(os.fsencode(root), *arguments):
            raise OSError(f"the shim cannot watch {root}: is it a directory?")

    def disarm(self) -> None:
        """Stop counting and causing faults."""
        self._library.archetype_fault_disarm()

    def trace(self, log: Path) -> None:
        """Write every counted call to a log."""
        if self._library.archetype_fault_trace(os.fsencode(log)):
            raise OSError(f"the shim cannot write its log {log}")

    def mark(self, text: str) -> None:
        """Write a mark to the log."""
        self._library.archetype_fault_mark(text.encode())

    def follow_parent(self) -> None:
        """End this process when its parent ends."""
        self._library.archetype_fault_follow_parent()

    @property
    def count(self) -> int:
        """The number of calls counted."""
        return int(self._page.count)

    @property
    def fired(self) -> tuple[int, int]:
        """The number of the call that got the fault (0 for none), and its time by the monotonic clock in nanoseconds."""
        return int(self._page.fired), int(self._page.fired_ns)

    def tail(self) -> list[str]:
        """The last counted calls, oldest first."""
        last = self.count
        numbers = range(max(1, last - _RING + 1), last + 1)
        return [bytes(self._page.ring[number % _RING].value).decode(errors="replace") for number in numbers]
