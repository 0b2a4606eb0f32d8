"""The command ``vicreg fit``."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from vicreg.options import (
    AsJson,
    Data,
    FitOptions,
    Paired,
    Preset,
    Quiet,
    TableOptions,
    settings,
)
from vicreg.terminal import say

__all__ = ["fit"]


def fit(
    data: Data,
    *,
    out: Annotated[Path, Parameter(help="Folder for the model.")],
    of_table: Annotated[TableOptions, Parameter(name="*")] = TableOptions(),  # noqa: B008
    paired: Paired = None,
    preset_name: Preset = "default",
    random_state: Annotated[int, Parameter(help="Seed.", validator=Number(gte=0, lt=2**32))] = 0,
    device: Annotated[str, Parameter(help="auto, cpu or cuda.")] = "auto",
    n_threads: Annotated[int | None, Parameter(help="CPU threads.")] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Parameter(help="Number format of the products in training."),
    ] = "auto",
    watch: Annotated[
        Path | None, Parameter(help="HTML file that tells of the fit while it runs.")
    ] = None,
    tensorboard: Annotated[
        Path | None, Parameter(help="Folder for TensorBoard's event files.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    options: Annotated[FitOptions, Parameter(name="*")] = FitOptions(),  # type: ignore[valid-type] # noqa: B008
) -> None:
    """Learn an embedding of a table and save the model."""
    from vicreg.command_outputs import check_page
    from vicreg.command_table import CommandFile, checked_delimiter
    from vicreg.estimator import VICReg
    from vicreg.persistence import check_free

    check_free(out)  # before the work, not after it
    delimiter = checked_delimiter(of_table.delimiter, data, paired)
    check_page("--watch", watch, data, paired, model=out, at_once=True)
    model = VICReg(
        **settings(preset_name, options),
        random_state=random_state,
        device=device,
        n_threads=n_threads,
        precision=precision,
        verbose=not quiet,
    )
    table = CommandFile(
        data,
        layer=of_table.layer,
        ids=[of_table.id],
        texts=[of_table.groups],
        delimiter=delimiter,
    ).read()
    aside = of_table.aside
    second = None
    if paired is not None:
        second = CommandFile(paired, ids=[of_table.id], delimiter=delimiter).read()
        table.check_same_rows(second, table.ids(of_table.id))
    table.check_aside(aside, second)  # before a page of the fit is begun
    started = time.perf_counter()
    with ExitStack() as stack:
        observers: list[Any] = []
        page = None
        if watch is not None:
            from vicreg.live import LivePage

            page = LivePage(watch, f"VICReg on {data.name}", model.steps)
            observers.append(stack.enter_context(page))
        if tensorboard is not None:
            from vicreg.events import EventLog

            observers.append(stack.enter_context(EventLog(tensorboard)))
        model.fit(
            table.features(aside),
            **table.per_row(aside),
            X_paired=None if second is None else second.features(aside),
            observe=_all_of(observers),
            pulse=None if page is None else page.pulse,
        )
        if page is not None:
            page.ended(model.n_iter_, model.history_["stopped"])
    model.aside_ = aside
    model.save(out)
    seconds = time.perf_counter() - started
    steps = model.n_iter_
    if as_json:
        print(
            json.dumps(
                {
                    "model": str(out),
                    "rows": model.n_rows_,
                    "columns": model.n_features_in_,
                    "n_components": model.embedder_.config.n_components,
                    "steps": steps,
                    "stopped": model.history_["stopped"],
                    "notes": model.notes_,
                    "seconds": round(seconds, 2),
                }
            )
        )
        return
    for note in model.notes_:
        say(f"note: {note}")
    say(
        f"fitted {model.n_rows_} rows x {model.n_features_in_} columns in {steps} steps, "
        f"{seconds:.1f} s; model in {out}"
    )


def _all_of(observers: list[Any]) -> Any:
    """One observer that tells all of them."""

    def observe(moment: Any) -> None:
        for one in observers:
            one(moment)

    return observe
