"""A process that makes system calls without libc under the shim; ``test_shim`` starts it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from archetype_contracts.crash.case import Fault, Kind
from archetype_contracts.crash.shim import Shim
from archetype_contracts.crash.trace import events

HERE = -100
"""``AT_FDCWD``: names are absolute or relative to the working directory."""

NUMBERS = {
    "x86_64": {
        "write": 1, "pwrite": 18, "writev": 20, "fsync": 74, "fdatasync": 75, "ftruncate": 77, "mkdirat": 258,
        "openat": 257, "unlinkat": 263, "renameat": 264, "linkat": 265, "renameat2": 316, "copy_file_range": 326,
    },
    "aarch64": {
        "write": 64, "pwrite": 68, "writev": 66, "fsync": 82, "fdatasync": 83, "ftruncate": 46, "mkdirat": 34,
        "openat": 56, "unlinkat": 35, "renameat": 38, "linkat": 37, "renameat2": 276, "copy_file_range": 285,
    },
}[os.uname().machine]  # fmt: skip
URING_SETUP = 425


class Bare:
    """Calls the kernel without libc; a negative result is an error."""

    def __init__(self, library: str) -> None:
        self._call = ctypes.CDLL(library).bare
        self._call.restype = ctypes.c_long

    def __call__(self, name: str | int, *arguments: int | bytes) -> int:
        number = NUMBERS[name] if isinstance(name, str) else name
        converted = [ctypes.c_char_p(one) if isinstance(one, bytes) else ctypes.c_long(one) for one in arguments]
        padded = [*converted, *(ctypes.c_long(0) for _ in range(6 - len(converted)))]
        return int(self._call(ctypes.c_long(number), *padded))


def every(bare: Bare) -> list[int]:
    """Make one call of each kind, and a rename through libc and through its ``syscall``."""
    opened = bare("openat", HERE, b"a", os.O_CREAT | os.O_WRONLY, 0o644)
    results = [
        bare("write", opened, b"four", 4),
        bare("pwrite", opened, b"more", 4, 4),
        bare("fsync", opened),
        bare("ftruncate", opened, 2),
        bare("fdatasync", opened),
        bare("mkdirat", HERE, b"d", 0o755),
        bare("renameat", HERE, b"a", HERE, b"d/b"),
        bare("renameat2", HERE, b"d/b", HERE, b"c", 0),
        bare("linkat", HERE, b"c", HERE, b"d/c", 0),
        bare("unlinkat", HERE, b"c", 0),
    ]
    Path("d/c").rename("e")
    results.append(ctypes.CDLL(None).syscall(NUMBERS["renameat"], HERE, b"e", HERE, b"f"))
    return results


def rename(bare: Bare) -> list[int]:
    """Try one rename three times, each time to another name."""
    return [bare("renameat", HERE, b"old", HERE, b"new%d" % number) for number in range(3)]


def short(bare: Bare) -> list[int]:
    """Write four bytes, then the last two of them again."""
    opened = os.open("old", os.O_WRONLY)
    return [bare("write", opened, b"four", 4), bare("write", opened, b"ur", 2)]


def blocked(bare: Bare) -> list[int]:
    """Make a call while libc blocks all signals."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    return [bare("renameat", HERE, b"old", HERE, b"new")]


def hidden(bare: Bare) -> list[int]:
    """Make the calls whose data the shim cannot log."""
    source, target = os.open("old", os.O_RDONLY), os.open("copy", os.O_CREAT | os.O_WRONLY)
    parameters = bytes(120)
    return [bare("copy_file_range", source, 0, target, 0, 3, 0), bare(URING_SETUP, 4, parameters)]


def start(bare: Bare) -> list[int]:
    """Start another program that changes a file."""
    return [subprocess.run(["/bin/sh", "-c", "echo changed > old"], check=False).returncode]


def main(library: str, root: str, what: str, *fault: str) -> None:
    """Arm the shim, make the calls, and print the results and the log."""
    calls: Callable[[Bare], list[int]] = globals()[what]
    kind, call, error = fault
    bare, shim, log = Bare(library), Shim(), Path(root + ".log")
    os.chdir(root)
    shim.arm(Path(root), Fault(Kind(kind), int(call), error=int(error)))
    shim.trace(log)
    results = calls(bare)
    shim.disarm()
    seen = [str(event).replace(root + "/", "") for event in events(log)]
    print(json.dumps({"results": results, "seen": seen, "count": shim.count}))


if __name__ == "__main__":
    main(*sys.argv[1:])
