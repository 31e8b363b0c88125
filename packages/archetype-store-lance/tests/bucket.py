"""An object store over HTTP: moto's server, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from queue import Queue
from threading import Thread

BUCKET = "worlds"


def emptied(address: str) -> None:
    """Replace the bucket by an empty one; the server's listings slow down with every object it holds."""
    connection = HTTPConnection(address.removeprefix("http://"))
    for method, path in (("POST", "/moto-api/reset"), ("PUT", f"/{BUCKET}")):
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    connection.close()


@contextmanager
def served() -> Iterator[dict[str, str]]:
    """Serve an empty bucket and yield the options to connect to it; stops the server at the end."""
    command = [sys.executable, str(Path(__file__).with_name("bucket_server.py"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines: Queue[str] = Queue()

    def listen() -> None:
        # Read to the end: the server blocks once the pipe is full.
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    listener = Thread(target=listen)
    listener.start()
    try:
        for line in iter(lines.get, ""):
            found = re.search(r"Running on (http://(\S+))", line)
            if found:
                break
        else:
            raise RuntimeError("the server did not start")
        endpoint = found.group(1)
        emptied(found.group(2))
        yield {
            "aws_access_key_id": "testing",
            "aws_secret_access_key": "testing",
            "aws_region": "us-east-1",
            "aws_endpoint": endpoint,
            "allow_http": "true",
        }
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        listener.join()
        assert process.stdout is not None
        process.stdout.close()
