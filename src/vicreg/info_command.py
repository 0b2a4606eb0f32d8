"""The command ``vicreg info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from vicreg.config import Config
from vicreg.options import (
    AsJson,
    FitOptions,
    Preset,
    TableOptions,
    given,
    settings,
)
from vicreg.terminal import print_facts, say

__all__ = ["info"]


def info(
    path: Annotated[Path, Parameter(help="Model folder; with --estimate a table's file.")],
    *,
    estimate: Annotated[
        bool, Parameter(negative=(), help="Predict the peak memory of a fit on a table.")
    ] = False,
    of_table: Annotated[TableOptions, Parameter(name="*")] = TableOptions(),  # noqa: B008
    preset_name: Preset = "default",
    as_json: AsJson = False,
    options: Annotated[FitOptions, Parameter(name="*")] = FitOptions(),  # type: ignore[valid-type] # noqa: B008
) -> None:
    """Say what a saved model is, or what a fit on a table would take of memory."""
    from vicreg.columns import names_of_places
    from vicreg.estimator import load

    if estimate:
        _estimate(path, of_table, Config(**settings(preset_name, options)), as_json)
        return
    if given(options) or of_table.are_given or preset_name != "default":
        raise ValueError("options of a fit go with --estimate; a model has them already")
    fitted = load(path)
    embedder = fitted.embedder_
    columns = embedder.table.columns
    kinds = [column.kind for column in columns]
    called = names_of_places(
        [(column.name, column.position) for column in columns],
        getattr(fitted, "feature_names_in_", None),
    )
    facts: dict[str, Any] = {
        "rows": fitted.n_rows_,
        "columns": fitted.n_features_in_,
        "kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "paired_columns": fitted.paired_columns_.n_features_in_ if fitted.paired_columns_ else 0,
        "dropped": {
            called.get(name, name): reason for name, reason in embedder.table.dropped.items()
        },
        "label": fitted.aside_.get("label"),
        "id": fitted.aside_.get("id"),
        "groups": fitted.aside_.get("groups"),
        "weight": fitted.aside_.get("weight"),
        "drop": fitted.aside_.get("drop", []),
        "layer": fitted.aside_.get("layer"),
        "parameters": sum(weight.numel() for weight in embedder.network.parameters()),
        "steps": fitted.n_iter_,
        "stopped": fitted.history_["stopped"],
        "n_threads": embedder.n_threads,
        "precision": embedder.precision,
        "notes": fitted.notes_,
        "config": embedder.config.as_dict(),
    }
    if as_json:
        print(json.dumps(facts))
        return
    print_facts({name: facts[name] for name in facts if name != "config"}, facts["config"])


def _estimate(
    path: Path,
    of_table: TableOptions,
    config: Config,
    as_json: bool,
) -> None:
    from vicreg.command_table import CommandFile, checked_delimiter
    from vicreg.memory import estimate_memory
    from vicreg.sources import read
    from vicreg.table import TableEncoder

    file = CommandFile(
        path, layer=of_table.layer, delimiter=checked_delimiter(of_table.delimiter, path)
    )
    whole = file.read()
    whole.check_aside(of_table.aside)
    source = read(whole.features(of_table.aside))
    table = TableEncoder.fit(
        source,
        normal_scores=config.normal_scores,
        holds=config.kind,
        n_top_columns=config.most_columns,
        smooth_clip=config.smooth_clip,
    )
    estimate = estimate_memory(source.shape[0], table, config, frame=file.annotated is None)
    facts = {
        "rows": source.shape[0],
        "columns": source.shape[1],
        "fit": estimate.fit,
        "transform": estimate.transform,
    }
    if as_json:
        print(json.dumps(facts))
        return
    say(f"{source.shape[0]} rows x {source.shape[1]} columns")
    # The fit's phases come one after the other, each beside the encoded table.
    sizes = {
        "fit, at its peak": estimate.fit,
        "  encoded table": estimate.table,
        "  encoding": estimate.encoding,
        '  finding what "auto" stands for': max(estimate.coherence, estimate.fineness),
        "  training: weights, gradients, moments": estimate.parameters,
        "  training: views": estimate.views,
        "  training: activations of a batch": estimate.activations,
        "  neighbourhoods": estimate.neighbourhoods,
        "  details": estimate.details,
        "embedding all rows": estimate.transform,
    }
    print_facts({name: f"{size / 2**20:,.0f} MiB" for name, size in sizes.items()})
    say("beyond the process and the table in its file's form; on the CPU")
