"""Moto's server, one request at a time: it checks for an object and creates it in two steps, where S3 does it in one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto import backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple


class OneAtATime:
    """A WSGI application that handles one request at a time."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            return self._application(environ, start_response)


class RequestHandler(MotoRequestHandler):
    """Keeps connections open, and writes no line per request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_: object) -> None:
        """Write nothing: reading those lines costs the tests more than sending the requests."""


# Moto lists its own directory on every request, which takes longer than the request.
SERVICES = tuple(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: SERVICES

if __name__ == "__main__":
    os.environ["MOTO_PORT"] = "0"
    application = OneAtATime(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", 0, application, threaded=True, request_handler=RequestHandler)
