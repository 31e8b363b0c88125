"""The OpenAPI document is true: a tool that knows nothing else finds what it says, in every role (H4)."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from serving import ROLES, SMALL, config, serving

from archetype_server.key_store import DATABASE, KeyStore

pytestmark = pytest.mark.thorough
EXAMPLES = int(os.environ.get("ARCHETYPE_SERVER_EXAMPLES", "25"))
"""Cases per operation; `nox -s server-long` asks for more."""
SEED = int(os.environ.get("ARCHETYPE_SERVER_SEED", "1"))
PHASES = {"admin": "fuzzing,stateful", "operator": "coverage", "player": "coverage", "viewer": "coverage"}
"""Which ways to choose cases; all, for every role, if more cases are asked for. Coverage tries each bound of each field."""
SETTINGS = """
# What the document cannot say of a request may still be wrong: 404, 409 and 410 are of a world's state, 412 of the tick that
# the client expects, 422 of values that do not go together. 400 is only for what the document refuses.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 410, 412, 422, 429]

# A request that has both a wrong body and a wrong precondition may be refused for the latter.
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 410, 412, 415, 422, 429]
"""


@pytest.mark.parametrize("role", ROLES)
def test_the_document_is_true(tmp_path: Path, role: str) -> None:
    """No operation fails, accepts what the document refuses, or answers what it does not mention; endless streams excepted."""
    limits = replace(
        SMALL, requests_per_s=1e6, burst=10**6, body_bytes=1 << 20, body_depth=64, body_s=30.0, rows=10_000
    )
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    with serving(config(tmp_path, limits=limits, is_dev=False)) as here:
        store = KeyStore(tmp_path / "data-server" / DATABASE)
        key, _ = store.add("ada", [role], expires_at=datetime.now(UTC) + timedelta(days=1))
        store.close()
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{here.url}/v1/openapi.json"),
            *("--header", f"Authorization: Bearer {key}", "--exclude-path-regex", "/events$"),
            *("--checks", "all", "--max-examples", str(EXAMPLES), "--seed", str(SEED)),
            *("--phases", PHASES[role] if EXAMPLES <= 25 else "coverage,fuzzing,stateful"),
            *("--no-color", "--request-timeout", "60"),
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-60_000:] + done.stderr[-2000:]
