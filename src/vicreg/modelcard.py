"""A model's card: what a person who finds the folder should know, in Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from vicreg.columns import names_of_places

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["escaped", "model_card"]

#: Columns that are listed by name.
MOST_COLUMNS = 60
LONGEST = 80
LIMITS = (
    (
        "It was learnt without labels. Distances in it need not mean what a task needs; compare "
        "with the raw table and PCA (`vicreg evaluate`) before relying on it."
    ),
    (
        "Tables must have the columns above, by the same names; in Python a data frame in the same "
        "order and without others. Categories that were rare or absent at the fit share one code; "
        "numbers end at ten deviations."
    ),
    (
        "It may hold what sets groups of the rows apart, wanted or not (batches, sites, people). "
        "`vicreg evaluate --batch COLUMN` measures that."
    ),
    "The folder names columns and the categories of text columns; it holds no rows.",
)


def model_card(document: dict[str, Any], evaluation: dict[str, Any] | None = None) -> str:
    """The text of ``README.md`` in a model folder.

    Parameters
    ----------
    document : dict
        What ``model.json`` holds.
    evaluation : dict, optional
        A scorecard's :meth:`~vicreg.Scorecard.as_dict`, if the model was evaluated before it was
        saved.
    """
    columns = document["table"]["columns"]
    history = document["history"]
    steps = history["step"][-1] if history["step"] else 0
    lines = [
        "# A vicreg model",
        "",
        (
            f"An embedding of a table of {document['n_rows']} rows and {document['n_features']} "
            f"columns into {document['config']['n_components']} dimensions, learnt without labels "
            f"by VICReg (vicreg {document['vicreg']})."
        ),
        "",
        "## Use",
        "",
        "```python",
        "from vicreg import load",
        "",
        (
            'Z = load("this folder").transform(table)  # (rows, '
            f"{document['config']['n_components']}), float32"
        ),
        "```",
        "",
        (
            "Or `vicreg embed MODEL DATA --out Z.parquet`. Nothing in the folder is executed; "
            "`model.json` and `weights.safetensors` are checked against their checksums, and this "
            "file is not read."
        ),
        "",
        "## Fit",
        "",
        f"{steps} steps, {escaped(str(history['stopped']))}; products in {document['precision']}.",
        "",
    ]
    lines += [f"- {escaped(str(note))}" for note in document["notes"]]
    lines += ["", "## Scores", "", *_scores(evaluation), "", "## Columns", ""]
    called = names_of_places(
        [(one["name"], one["position"]) for one in columns], document["feature_names"]
    )
    lines += _columns(columns, document["table"]["dropped"], called)
    aside = {kind: name for kind, name in document["aside"].items() if name is not None}
    layer, dropped = aside.pop("layer", None), aside.pop("drop", [])
    lines += [f"- set aside as {kind}: {escaped(name)}" for kind, name in aside.items()]
    lines += [f"- set aside by --drop: {escaped(name)}" for name in dropped[:MOST_COLUMNS]]
    lines += [] if layer is None else [f"- read from the layer {escaped(layer)}"]
    lines += ["", "## Configuration", "", "| name | value |", "|---|---|"]
    lines += [f"| {name} | {escaped(str(value))} |" for name, value in document["config"].items()]
    lines += ["", "## Limits", "", *(f"- {limit}" for limit in LIMITS), ""]
    return "\n".join(lines)


def escaped(text: str) -> str:
    r"""Text as it stands, whatever it would mean in Markdown or HTML; one line, cut if long.

    Examples
    --------
    >>> from vicreg.modelcard import escaped
    >>> print(escaped("a|b <i> *c*"))
    a\|b \<i\> \*c\*
    """
    one_line = " ".join(text.split())
    if len(one_line) > LONGEST:
        one_line = f"{one_line[: LONGEST - 1]}…"
    one_line = re.sub(r"([\\`*_{}\[\]<>#!|~&$^])", r"\\\1", one_line)
    # An address would become a link.
    return re.sub(r"(?i)(https?|ftp|mailto):|www\.|@", lambda found: f"{found[0]}&#8203;", one_line)


def _columns(
    columns: Sequence[dict[str, Any]], dropped: dict[str, str], called: dict[str, str]
) -> list[str]:
    lines = ["| column | holds | becomes |", "|---|---|---|"]
    for column in columns[:MOST_COLUMNS]:
        if column["kind"] == "category":
            becomes = f"{len(column['categories']) + 1} codes"
        else:
            becomes = ", ".join(column["parts"])
        name = called.get(column["name"], column["name"])
        lines.append(f"| {escaped(name)} | {column['kind']} | {becomes} |")
    if len(columns) > MOST_COLUMNS:
        lines += ["", f"and {len(columns) - MOST_COLUMNS} more columns, named in `model.json`"]
    lines.append("")
    lines += [f"- left out, {reason}: {escaped(called.get(name, name))}" for name, reason in
              list(dropped.items())[:MOST_COLUMNS]]  # fmt: skip
    return lines


def _scores(evaluation: dict[str, Any] | None) -> list[str]:
    if evaluation is None:
        return ["The model was not evaluated before it was saved."]
    measures = evaluation["measures"]
    known = ", which the fit has not seen" * evaluation["held_out"]
    known += ", which the fit has seen" * evaluation["seen"]
    lines = [
        f"On {escaped(evaluation['title'])}, {evaluation['n_scored']} rows scored{known}.",
        "",
        evaluation["verdict"],  # the package's own words
        "",
        "| method | " + " | ".join(measures) + " |",
        "|---" * (len(measures) + 1) + "|",
    ]
    for method, of_method in evaluation["scores"].items():
        cells = []
        for measure in measures:
            value = of_method.get(measure)
            cells.append("" if value is None or value != value else f"{value:.3f}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines
