"""Serves until it is told to stop: binds, brings the worlds back, says that it is ready, answers, drains."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from archetype import DO_NOT_TRACK
from archetype_gate import ServiceContainer
from archetype_server.app import create_app
from archetype_server.audit_feed import AuditFeed
from archetype_server.config import ServerConfig
from archetype_server.first_key import ensure_first_key
from archetype_server.identity import Identity
from archetype_server.job_runner import JobRunner
from archetype_server.job_store import JobStore
from archetype_server.key_store import DATABASE, SERVER, KeyStore
from archetype_server.owner import owned
from archetype_server.problem import ServerError
from archetype_server.protocol import Protocol
from archetype_server.readiness import Readiness
from archetype_server.redaction import Redaction
from archetype_server.request_record import log_to_stderr
from archetype_server.template import load_templates
from archetype_server.tick_feed import TickFeed
from archetype_server.token_verifier import TokenVerifier
from archetype_server.whereabouts import announced
from archetype_server.world_directory import WorldDirectory
from archetype_server.world_host import WorldHost

SIGNALS = (signal.SIGINT, signal.SIGTERM)
log = logging.getLogger("archetype_server")


class NotBound(ServerError):
    """The address is in use, or not one of this machine."""

    code = "ARC-H014"


class _Uvicorn(uvicorn.Server):
    """A uvicorn server whose signals are handled by its owner, which has more to end than connections."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """A server in the running event loop. ``start`` returns when it is bound and ready, ``stop`` when all is on disk."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._stack = AsyncExitStack()
        self._readiness = Readiness()
        self._uvicorn: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None
        self._feed = TickFeed(config.limits.streams)
        self._audit: AuditFeed | None = None
        self._jobs: JobRunner | None = None
        self.url = ""
        self.first_key: Path | None = None
        """The file with an admin's key, if this start made one."""
        self.failed: dict[str, str] = {}
        """The worlds that could not be brought back, and why."""

    async def start(self) -> None:
        """Bind the address, bring the worlds back, and take requests.

        ``SecondServer`` if another one has the state directory, ``NotBound`` if the address is in use.
        """
        config, stack = self._config, self._stack
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_exit(stack)
            templates = load_templates(config.load)
            state = config.state_directory
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            tell = stack.enter_context(owned(config))
            bound = _bound(config)
            stack.callback(bound.close)
            self.url = _url(config, bound)
            tell(self.url)
            keys = KeyStore(state / DATABASE)
            stack.callback(keys.close)
            self.first_key = ensure_first_key(keys, state)
            directory = WorldDirectory(state / DATABASE)
            stack.callback(directory.close)
            quotas = replace(config.quotas, exempt=config.quotas.exempt | {SERVER.id})
            container = ServiceContainer(quotas=quotas, ledger=state / "ledgers")
            stack.push_async_callback(container.shutdown)
            # Importing the runtime has turned the engine's usage reports off.
            log.debug("DO_NOT_TRACK=%s", DO_NOT_TRACK)
            # The first tick needs the engine, which takes seconds to import.
            warming = asyncio.create_task(asyncio.to_thread(importlib.import_module, "daft"))
            stack.push_async_callback(asyncio.wait, [warming])
            self._audit = AuditFeed(container.settled, Redaction(config), rows=config.limits.stream_rows)
            host = WorldHost(
                container.gate,
                config.storage,
                templates,
                directory,
                self._feed,
                audit=self._audit,
                foresee=container.foresee,
            )
            await host.start()
            kept = JobStore(state / DATABASE, config.limits.job_bytes)
            stack.callback(kept.close)
            self._jobs = JobRunner(host, kept, config.limits)
            self.failed = host.failed
            tokens = None if config.tokens is None else TokenVerifier(config.tokens)
            identity = Identity(keys, tokens, is_dev=config.is_dev)
            app: Any = create_app(host, keys, self._jobs, identity=identity, readiness=self._readiness, config=config)
            self._uvicorn = _Uvicorn(_uvicorn_config(app, config))
            self._serving = asyncio.create_task(self._uvicorn.serve(sockets=[bound]))
            while not self._uvicorn.started:
                if self._serving.done():
                    await self._serving
                await asyncio.sleep(0.005)
            self._readiness.is_ready = True
            undo.pop_all()

    async def stop(self) -> None:
        """Take no more requests, end streams and jobs, wait for the requests in flight, and close everything; idempotent."""
        self._readiness.is_ready = False
        self._feed.close()
        if self._audit is not None:
            self._audit.close()
        if self._jobs is not None:
            await self._jobs.close()
        if self._uvicorn is not None and self._serving is not None:
            self._uvicorn.should_exit = True
            await asyncio.wait([self._serving])
        await self._stack.aclose()


def _bound(config: ServerConfig) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.set_inheritable(False)
    except OSError as refusal:
        bound.close()
        raise NotBound(
            f"cannot listen on {config.host} port {config.port}: {refusal.strerror}; choose another host or port"
        ) from refusal
    return bound


def _url(config: ServerConfig, bound: socket.socket) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{bound.getsockname()[1]}"


def _uvicorn_config(app: Any, config: ServerConfig) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        loop="asyncio",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=max(1, round(config.limits.drain_s)),
    )


async def run(config: ServerConfig, *, is_json: bool = False) -> None:
    """Serve until SIGINT or SIGTERM, and say on standard error when it is ready and when it stops.

    With ``is_json`` standard output has one line of JSON when it is ready, for the program that started it.
    """
    server, told = Server(config), asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in SIGNALS:
        loop.add_signal_handler(one, told.set)
    try:
        await server.start()
        # What is there now stays: collections need not look at it again.
        gc.freeze()
        for name, reason in server.failed.items():
            _say(f"world {name} is not served: {reason}")
        if server.first_key is not None:
            _say(f"an admin's key is in {server.first_key}")
        if config.is_dev:
            _say("dev mode: callers without a key choose their role")
        with announced(server.url, config.state_directory):
            _say(f"ready on {server.url}")
            if is_json:
                line = json.dumps({"event": "ready", "url": server.url, "pid": os.getpid(), "failed": server.failed})
                print(line, flush=True)  # noqa: T201  # reason: the data that was asked for
            await told.wait()
        _say("stopping")
    finally:
        # A second signal ends the process at once, as it would any other.
        for one in SIGNALS:
            loop.remove_signal_handler(one)
        await server.stop()


def serve(config: ServerConfig, *, is_json: bool = False, log_form: str | None = None) -> None:
    """Serve until SIGINT or SIGTERM; returns when everything is closed.

    ``log_form`` is ``json`` or ``text`` for a log on standard error with a line per request; ``None`` is for warnings alone.
    """
    if log_form is not None:
        log_to_stderr(log_form)
    asyncio.run(run(config, is_json=is_json))


def _say(text: str) -> None:
    print(f"archetype: {text}", file=sys.stderr, flush=True)  # noqa: T201  # reason: this is a command's talk
