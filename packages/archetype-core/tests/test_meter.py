"""The meter without a gate: it counts and refuses nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype_core.command import FreeMeter, Meter

CREDITS = st.integers(0, 2**40)


class SetClock:
    """A clock that moves only when set."""

    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


@given(st.lists(st.tuples(st.sampled_from("ab"), CREDITS, st.none() | CREDITS)))
def test_a_free_meter_counts_what_was_settled(work: list[tuple[str, int, int | None]]) -> None:
    """What is reserved counts until it is settled or released; settling says what is above the reservation (G3)."""
    meter: Meter = FreeMeter(SetClock())
    reservations = [meter.reserve(actor, asked) for actor, asked, _ in work]
    for actor in "ab":
        found = meter.usage(actor)
        assert found.credits_reserved == sum(asked for one, asked, _ in work if one == actor)
        assert (found.credits_used, found.credits_limit) == (0, None)
    for reservation, (_, asked, spent) in zip(reservations, work, strict=True):
        if spent is None:
            meter.release(reservation)
        else:
            assert meter.settle(reservation, spent) == max(0, spent - asked)
        with pytest.raises(ValueError, match="is over"):
            meter.release(reservation)
    for actor in "ab":
        found = meter.usage(actor)
        assert found.credits_used == sum(spent or 0 for one, _, spent in work if one == actor)
        assert found.credits_reserved == 0


def test_a_day_has_its_own_credits() -> None:
    """Credits are of a UTC day; a reservation stays and is charged to the day that settles it (G3)."""
    clock = SetClock()
    meter = FreeMeter(clock)
    meter.settle(meter.reserve("a", 5), 5)
    late = meter.reserve("a", 7)
    clock.moment += timedelta(days=1)
    assert (meter.usage("a").credits_used, meter.usage("a").credits_reserved) == (0, 7)
    meter.settle(late, 7)
    assert (meter.usage("a").credits_used, meter.usage("a").day) == (7, clock.moment.date())


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "1", None, 2**63])
def test_wrong_numbers_of_credits_are_refused(wrong: object) -> None:
    """Credits are ints of 0 or more."""
    meter = FreeMeter()
    with pytest.raises(ValueError, match="int of credits"):
        meter.reserve("a", wrong)  # type: ignore[arg-type]  # reason: wrong on purpose
    with pytest.raises(ValueError, match="int of credits"):
        meter.settle(meter.reserve("a", 1), wrong)  # type: ignore[arg-type]  # reason: wrong on purpose
