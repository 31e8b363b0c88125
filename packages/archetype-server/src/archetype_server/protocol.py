"""HTTP as this server speaks it: head and body of an answer in one packet, and a problem for what is no HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from archetype_server.problem import PROBLEM_JSON, BadRequest, encoded

if TYPE_CHECKING:
    from collections.abc import Callable


HEAD_BYTES = 64 * 1024
"""The parser keeps whatever comes as headers, or as trailers, up to this size."""


class _Joined:
    """A transport that sends what is written in one turn of the event loop at once, so that a reader wakes up once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._soon = loop.call_soon
        self._parts: list[bytes] = []
        self.get_extra_info: Callable[..., Any] = transport.get_extra_info
        self.is_closing: Callable[[], bool] = transport.is_closing
        self.pause_reading: Callable[[], None] = transport.pause_reading
        self.resume_reading: Callable[[], None] = transport.resume_reading
        self.set_protocol: Callable[..., None] = transport.set_protocol

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._parts = []
        self._transport.abort()


class Protocol(HttpToolsProtocol):
    """One connection."""

    _is_in_head = True
    _head = _fields = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # reason: as uvicorn has it
        super().connection_made(cast("asyncio.Transport", _Joined(transport, self.loop)))

    def data_received(self, data: bytes) -> None:
        if self._is_in_head:
            self._head += len(data)
        super().data_received(data)
        if self._is_in_head and self._head > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("")

    def on_message_begin(self) -> None:
        self._fields = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += len(name) + len(value)
        if self._fields > HEAD_BYTES:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head, self._head = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        del msg  # uvicorn's text, which is the same for all
        problem = BadRequest("this is no HTTP request that the server can read")
        body = encoded(problem, "", None)
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {len(body)}\r\n"
            "x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
