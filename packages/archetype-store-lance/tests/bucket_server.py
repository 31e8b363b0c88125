"""Moto's server, one request at a time: it looks whether an object is there and makes it in two steps, and S3 in one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import moto.server as moto
from moto import backends


class OneAtATime:
    """An application whose requests wait for one another."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            return self._application(environ, start_response)


_run: Callable[..., None] = moto.run_simple


def run(host: str, port: int, application: Callable[..., Iterable[bytes]], **options: Any) -> None:
    """Serve an application, its requests in a row."""
    _run(host, port, OneAtATime(application), **options)


# It looks through its own directory at every request, which takes longer than the request.
SERVICES = tuple(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: SERVICES

if __name__ == "__main__":
    moto.run_simple = run
    moto.main(sys.argv[1:])
