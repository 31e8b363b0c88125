"""What is refused before anything reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype_server.limits import RateLimit, check_depth, check_host, check_origin
from archetype_server.problem import BadRequest, TooManyRequests, WrongHost

TREES = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('ab[]{}"\\')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=20,
)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@given(value=TREES, depth=st.integers(1, 6))
def test_depth_is_that_of_the_data(value: Any, depth: int) -> None:
    """JSON is refused exactly if it is nested deeper than the limit, whatever its strings look like."""
    body = json.dumps(value).encode()
    if _depth(value) > depth:
        with pytest.raises(BadRequest):
            check_depth(body, depth)
    else:
        check_depth(body, depth)


@given(body=st.binary(max_size=200) | st.text(st.sampled_from('[]{}"\\,:1 ')).map(str.encode))
def test_any_bytes_are_checked(body: bytes) -> None:
    """What is no JSON at all is refused or left to the decoder, and never fails otherwise."""
    try:
        check_depth(body, 4)
    except BadRequest:
        return


def test_a_long_unfinished_string_costs_no_time() -> None:
    """A body of one unfinished string is checked in linear time: a quadratic check would take minutes."""
    check_depth(b'"' + b"\\\\a" * 1_000_000, 8)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "sim.example:443"])
def test_own_names_are_answered(host: str) -> None:
    """The names of the loopback interface and those that were allowed are this server's, on any port."""
    check_host(host, frozenset({"localhost", "127.0.0.1", "[::1]", "sim.example"}))


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "localhost.evil.example", "localhost:x", "127.0.0.1.nip.example"]
)
def test_other_names_are_not(host: str | None) -> None:
    """Any other name is refused, so that a page which a browser loaded elsewhere cannot reach the server."""
    with pytest.raises(WrongHost):
        check_host(host, frozenset({"localhost", "127.0.0.1"}))


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:3000", "null", "http://localhost", ""])
def test_pages_of_other_origins_are_refused(origin: str) -> None:
    """A page that another server sent may not even send a request that needs no answer."""
    with pytest.raises(WrongHost):
        check_origin(origin, "localhost:8000")
    check_origin("http://localhost:8000", "localhost:8000")
    check_origin(None, "localhost:8000")


def test_a_bucket_fills_again() -> None:
    """A caller may send a burst, then as many as its rate allows; others are not concerned."""
    now = 0.0
    rate = RateLimit(2.0, 3, lambda: now)
    for _ in range(3):
        rate.take("ada")
    with pytest.raises(TooManyRequests) as refused:
        rate.take("ada")
    assert refused.value.response_headers == {"Retry-After": "1"}
    rate.take("bob")
    now = 0.5
    rate.take("ada")
    with pytest.raises(TooManyRequests):
        rate.take("ada")


def test_forgotten_callers_cost_no_memory() -> None:
    """Callers whose bucket is full again are forgotten."""
    now = 0.0
    rate = RateLimit(1.0, 1, lambda: now)
    for number in range(10_001):
        now = float(number)
        rate.take(str(number))
    assert len(rate._buckets) < 100
