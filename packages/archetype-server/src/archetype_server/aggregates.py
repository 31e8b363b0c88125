"""Aggregates and densities as answers: JSON for a browser, and Arrow for everything else."""

from __future__ import annotations

import base64
import io

import msgspec
import numpy as np
import pyarrow as pa

from archetype_core.read import DensityGrid
from archetype_server.answer import AggregateAnswer, AggregateRow, Axis, DensityAnswer

METADATA = b"archetype.density"
"""The key of an Arrow schema's metadata that has a density's facts as JSON, without its data."""


def numbers(table: pa.Table, quantiles: tuple[float, ...]) -> bytes:
    """Return the rows of an aggregate as JSON, the edges of every column once."""
    rows = table.to_pylist()
    edges = {row["column"]: found for row in rows if (found := row.pop("edges", None)) is not None}
    return msgspec.json.encode(AggregateAnswer(list(quantiles), edges, [AggregateRow(**row) for row in rows]))


def grid(found: DensityGrid) -> bytes:
    """Return a density as JSON with its counts in base64."""
    data = base64.b64encode(found.counts.astype("<u4").tobytes()).decode()
    return msgspec.json.encode(_answer(found, data))


def arrow_grid(found: DensityGrid) -> bytes:
    """Return a density as an Arrow stream: a row of ``counts`` for each bin of ``y``, and its facts in the metadata."""
    height, width = found.counts.shape
    counts = pa.FixedSizeListArray.from_arrays(pa.array(found.counts.ravel().astype(np.uint32)), width)
    facts = msgspec.to_builtins(_answer(found, ""))
    del facts["data"]
    schema = pa.schema([pa.field("counts", counts.type)], metadata={METADATA: msgspec.json.encode(facts)})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([counts], schema=schema))
    assert height == len(counts)
    return sink.getvalue()


def _answer(found: DensityGrid, data: str) -> DensityAnswer:
    x, y = (
        Axis(name, float(edges[0]), float(edges[-1]), len(edges) - 1)
        for name, edges in ((found.x, found.x_edges), (found.y, found.y_edges))
    )
    return DensityAnswer(found.tick, x, y, int(found.counts.sum()), found.outside, found.missing, data)
