"""One batch function on one machine by `datasets.map`, or on a cluster by Ray Data.

A batch function takes columns (name -> list) and returns new columns of the same length; it depends
on nothing but its batch and arguments. So both engines give the same rows in the same order.
"""

from collections.abc import Callable, Mapping
from typing import Any

import datasets
import pyarrow

from ace_lib import AceError
from ace_lib.verify_ray import connected_ray

BatchFunction = Callable[..., dict[str, list]]
ENGINES = ("datasets", "ray")
BATCH_ROWS = 1000


def map_batches(
    table: datasets.Dataset,
    function: BatchFunction,
    arguments: Mapping[str, Any] | None = None,
    engine: str = "datasets",
    address: str = "",
) -> datasets.Dataset:
    """Return `table` with the columns of `function(columns, **arguments)`.

    With engine "ray" the function is pickled, and every machine of the cluster has the kit; an
    `address` of "" starts a cluster on this machine. Raises AceError for an unknown engine, and
    when Ray or its cluster is missing.
    """
    if engine not in ENGINES:
        raise AceError(f"engine {engine!r} is unknown; choose from {ENGINES}")
    if engine == "datasets":
        return table.map(function, batched=True, batch_size=BATCH_ROWS, fn_kwargs=arguments)
    ray = connected_ray(address or None)
    from ray.data import DataContext, from_arrow

    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    rows = table.with_format("arrow")
    starts = range(0, len(table), BATCH_ROWS)
    blocks = [rows[start : start + BATCH_ROWS] for start in starts]
    mapped = from_arrow(blocks).map_batches(
        _add_columns,
        batch_size=None,  # a batch is a block, as cut above
        batch_format="pyarrow",
        fn_args=(function, dict(arguments or {})),
    )
    parts = ray.get(mapped.to_arrow_refs())
    return datasets.Dataset(pyarrow.concat_tables(part for part in parts if part.num_rows))


def _add_columns(
    block: pyarrow.Table, function: BatchFunction, arguments: Mapping[str, Any]
) -> pyarrow.Table:
    """Apply a batch function to one block; the columns it does not return stay as they are."""
    for name, values in function(block.to_pydict(), **arguments).items():
        if name in block.column_names:
            block = block.drop_columns([name])
        block = block.append_column(name, pyarrow.array(values))
    return block


def core_hours(seconds: Mapping[str, float], num_rows: int) -> dict[str, float]:
    """Core-seconds of each step over `num_rows`, scaled to 100 million rows, in hours.

    For steps whose work grows with the rows alone, on cores like this one.
    """
    return {step: value * 100_000_000 / num_rows / 3600 for step, value in seconds.items()}
