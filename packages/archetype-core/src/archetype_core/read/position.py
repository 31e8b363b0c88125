"""Finds rows by entity id: where some ids are among others."""

from __future__ import annotations

from typing import Any

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.int64]]

_SPARSE = 8
"""A table from id to row may have so many places per id; entity ids are counted up, so it is usually nearly full."""


def positions(has: Ids, ids: Ids) -> Ids | None:
    """Return where each of ``ids`` is in ``has``, which are unique, and -1 where it is not; `None` if the two are equal."""
    if has is ids or np.array_equal(has, ids):
        return None
    if not len(has):
        return np.full(len(ids), -1)
    least, most = int(has.min()), int(has.max())
    if most - least < _SPARSE * len(has):
        table = np.full(most - least + 1, -1)
        table[has - least] = np.arange(len(has))
        is_within = (ids >= least) & (ids <= most)
        if is_within.all():
            return np.asarray(table[ids - least])
        found = np.full(len(ids), -1)
        found[is_within] = table[ids[is_within] - least]
        return found
    order = None if np.all(has[1:] > has[:-1]) else np.argsort(has, kind="stable")
    ordered = has if order is None else has[order]
    places = np.minimum(np.searchsorted(ordered, ids), len(has) - 1)
    rows = places if order is None else order[places]
    return np.where(has[rows] == ids, rows, -1)
