"""The command ``vicreg evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from vicreg.options import AsJson, Data, Delimiter, Id, Label, Layer
from vicreg.terminal import print_card, say

__all__ = ["evaluate"]


def evaluate(
    model: Annotated[Path, Parameter(help="Model folder.")],
    data: Data,
    *,
    label: Label = None,
    report: Annotated[Path | None, Parameter(help="HTML file to write.")] = None,
    id: Id = None,  # noqa: A002 (the option's name)
    batch: Annotated[
        str | None, Parameter(help="Column of batches, which the embedding should not tell apart.")
    ] = None,
    layer: Layer = None,
    delimiter: Delimiter = None,
    target: Annotated[
        Literal["auto", "classes", "number"],
        Parameter(help="What the label is; auto takes decimal numbers for numbers."),
    ] = "auto",
    show: Annotated[
        list[str] | None,
        Parameter(
            help="Columns that the report must show.", negative_iterable=(), consume_multiple=True
        ),
    ] = None,
    umap: Annotated[bool, Parameter(negative=(), help="Maps by UMAP too (umap-learn).")] = False,
    refit: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Fit the configuration anew on 70 % of the rows and score the rest, or on all "
            "rows where the rest would be fewer than 100.",
        ),
    ] = False,
    controls: Annotated[
        bool, Parameter(help="Also score the encoder untrained, and trained on shuffled columns.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Score a model's embedding beside the raw table, PCA and controls."""
    from sklearn.base import clone

    from vicreg.columns import is_missing
    from vicreg.command_outputs import check_page
    from vicreg.command_table import LAYER, CommandFile, checked_delimiter
    from vicreg.estimator import load
    from vicreg.evaluation import evaluate as score
    from vicreg.holdout import FEWEST_GROUPS

    check_page("--report", report, data, model=model)  # before the work, not after it
    fitted = load(model)
    kept = fitted.aside_
    table = CommandFile(
        data,
        layer=layer,
        of_model=kept.pop(LAYER, None),
        ids=[id, kept.get("id")],
        texts=[kept.get("groups"), *fitted.embedder_.table.texts],
        delimiter=checked_delimiter(delimiter, data),
    ).read()
    aside = {**fitted.aside_, "given label": label, "given id": id}
    if not refit:
        table.check_no_feature({"label": label, "id": id}, fitted)
    name = label if label is not None else fitted.aside_.get("label")
    labelled, notes = label is not None, []
    if not labelled and name is not None and name in table.columns:
        # Nobody has named it in this command, so nobody can leave it out.
        present = (value for value in table.column(name).to_list() if not is_missing(value))
        n_classes = len(set(present))
        labelled = n_classes > 1
        if not labelled:
            notes.append(
                f"scored without labels: {name!r}, which the model remembers, has {n_classes} "
                f"class{'es' * (n_classes != 1)} here"
            )
    ids = table.ids(id, fitted.aside_.get("id"))
    batches = None if batch is None else table.column(batch)
    in_features = batch is not None and table.is_feature(batch, fitted)
    if not in_features:
        aside["batch"] = batch  # a batch that the model was fitted on stays a feature
    if refit and fitted.paired_columns_ is not None:
        raise ValueError(
            "--refit fits one table anew, however: the model was fitted on a pair of tables; "
            "leave it out to score the embedding of the first"
        )
    # As they were for the fit, whose controls and splits need them too.
    beside = table.per_row(fitted.aside_)
    # A table to look at may be of a single patient; a fit needs several groups, and says so.
    if not refit and "groups" in beside:
        known = {one for one in beside["groups"] if one is not None}
        if None in beside["groups"] or len(known) < FEWEST_GROUPS:
            del beside["groups"]
    columns = None if refit else getattr(fitted, "feature_names_in_", None)
    card = score(
        clone(fitted).set_params(verbose=False) if refit else fitted,
        table.features(aside, columns),
        table.column(str(name)) if labelled else None,
        **beside,
        batches=batches,
        ids=None if ids is None else table.column(ids),
        target=target,
        controls=controls,
        maps=report is not None,
        umap=umap,
        show=show or (),
        title=data.name,
        label_name=str(name),
        batch_name=batch or "batch",
    )
    card.notes += [*notes, *table.ignored(aside, columns)]
    if in_features:
        card.notes.append(
            f"the model was fitted on {batch!r}, so of course it tells batches apart; leave it out "
            f"of the fit (vicreg fit --drop {batch})"
        )
    if report is not None:
        card.to_html(report)
    if as_json:
        print(card.to_json())
        return
    print_card(card)
    if report is not None:
        say(f"wrote {report}")
