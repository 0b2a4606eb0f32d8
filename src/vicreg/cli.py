"""The command line: ``vicreg demo | fit | evaluate | info``; two commands have their own files.

Exit status 0, or another with one line on stderr. ``--json`` prints one machine-readable line on
stdout.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import threading
import time
import typing
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vicreg import __version__
from vicreg.config import Config, preset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vicreg.scorecard import Scorecard

__all__ = ["Terminated", "app", "main"]

#: Seconds in which a second SIGTERM is taken for the first: ``timeout`` and schedulers send it to
#: the process and to its group, and what the first has begun to put away must not be cut short.
SAME_SIGNAL = 5.0

app = App(
    name="vicreg",
    help="Embeddings of matrices and tables without labels, learnt with VICReg.",
    version=__version__,
    suppress_keyboard_interrupt=False,  # main has a word to say about it
)


def _documented(field_name: str) -> str:
    """A field's words in the docstring of the configuration."""
    lines = [line.strip() for line in (Config.__doc__ or "").splitlines()]
    words: list[str] = []
    for line in lines[lines.index(field_name) + 1 :]:
        if not line.endswith(".") and not line.count(" "):
            break
        words.append(line)
        if line.endswith("."):
            break
    return " ".join(words).replace(":mod:", "")  # a role of the documentation's, not the terminal's


def _fit_options() -> type[Any]:
    """The configuration's fields as options that know whether they were given."""
    hints = typing.get_type_hints(Config)
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(Config):
        default = field.default
        told = " ".join(map(str, default)) if isinstance(default, tuple) else default
        parameter = Parameter(
            help=f"{_documented(field.name)} [default: {told}]",
            show_default=False,
            negative_iterable=(),
            consume_multiple=isinstance(default, tuple) or None,
        )
        fields.append(
            (field.name, Annotated[hints[field.name] | None, parameter], dataclasses.field())
        )
        fields[-1][2].default = None
    options = dataclasses.make_dataclass("FitOptions", fields, frozen=True, kw_only=True)
    options.__module__ = __name__
    options.__doc__ = ""
    return options


FitOptions = _fit_options()
app.command("vicreg.embed_command:embed", name="embed")
app.command("vicreg.tune_command:tune", name="tune")
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative=(), help="No progress bar.")]
AsJson = Annotated[
    bool, Parameter(name="--json", negative=(), help="Print one machine-readable line.")
]
Data = Annotated[
    Path, Parameter(help="CSV file (also compressed: .gz, .bz2, .zst), Parquet or h5ad file.")
]
Label = Annotated[
    str | None, Parameter(help="Column that holds labels; never a feature of the model.")
]
Preset = Annotated[
    str, Parameter(name="--preset", help="default, paper or seed; single options override it.")
]
Id = Annotated[str | None, Parameter(help="Column that names the rows; never a feature.")]
Groups = Annotated[
    str | None,
    Parameter(help="Column of groups: rows of one are views of each other. Never a feature."),
]
Weight = Annotated[
    str | None, Parameter(help="Column of weights: how often a row is drawn. Never a feature.")
]
Delimiter = Annotated[
    str | None,
    Parameter(
        help="Character that sets fields of CSV files apart, or the word tab. No model remembers "
        "it. [default: a comma in .csv, a tab in .tsv and .txt]"
    ),
]
Drop = Annotated[
    list[str] | None,
    Parameter(
        help="Columns, or genes, that are no features. A model remembers them.",
        negative_iterable=(),
        consume_multiple=True,
    ),
]
Layer = Annotated[
    str | None,
    Parameter(
        help="Layer of DATA, an h5ad file, that is taken for its matrix; raw for .raw, X for X. "
        "A model remembers it."
    ),
]
Paired = Annotated[
    Path | None, Parameter(help="File of a second table of the same rows, in the same order.")
]


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder to write to.")] = Path("demo"),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit two real inputs, print a score table for each, write embeddings, model and report.

    The inputs: make_blobs (100 x 100, 10 centres) and scikit-learn's digits (1797 x 64).
    """
    import numpy as np
    from sklearn.datasets import load_digits, make_blobs

    from vicreg.embedding_file import embedding_file
    from vicreg.estimator import VICReg
    from vicreg.evaluation import evaluate
    from vicreg.places import fresh_file
    from vicreg.report import render_report

    started = time.perf_counter()
    blobs, blob_labels = make_blobs(
        n_samples=100, n_features=100, centers=10, cluster_std=5, random_state=0
    )
    digits, digit_labels = load_digits(return_X_y=True)
    cards = []
    tables: list[dict[str, Any]] = []
    for title, X, y in (
        ("blobs", blobs.astype(np.float32), blob_labels),
        ("digits", digits, digit_labels),
    ):
        model = VICReg(random_state=0, verbose=not quiet)
        card = evaluate(model, X, y, title=title)
        cards.append(card)
        embedding = card.model.transform(X)
        tables.append({"table": title, "label": y, "embedding": embedding})
        if not as_json:
            _print_card(card)
    out.mkdir(parents=True, exist_ok=True)
    shape = {"n_rows": len(blobs) + len(digits), "n_components": tables[0]["embedding"].shape[1]}
    with embedding_file(out / "embeddings.parquet", **shape) as write:
        for one in tables:
            n_rows = len(one["label"])
            names = [one["table"]] * n_rows
            write(
                {"table": names, "row": np.arange(n_rows), "label": one["label"]},
                one["embedding"],
            )
    cards[-1].model.save(out / "model")
    with fresh_file(out / "report.html") as fresh:
        page = render_report(cards, title="VICReg demo")
        fresh.write_text(page, encoding="utf-8")
    seconds = time.perf_counter() - started
    if as_json:
        written = [str(out / name) for name in ("embeddings.parquet", "model", "report.html")]
        told = {card.title: json.loads(card.to_json()) for card in cards}
        print(json.dumps({"cards": told, "written": written, "seconds": round(seconds, 1)}))
    else:
        _say(
            f"wrote {out}/embeddings.parquet, {out}/model/ (digits) and {out}/report.html "
            f"in {seconds:.0f} s"
        )


@app.command
def fit(
    data: Data,
    *,
    out: Annotated[Path, Parameter(help="Folder for the model.")],
    label: Label = None,
    id: Id = None,  # noqa: A002 (the option's name)
    groups: Groups = None,
    weight: Weight = None,
    drop: Drop = None,
    layer: Layer = None,
    delimiter: Delimiter = None,
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
    from vicreg.command_table import DROP, LAYER, CommandFile, checked_delimiter
    from vicreg.estimator import VICReg
    from vicreg.persistence import check_free
    from vicreg.places import check_file

    check_free(out)  # before the work, not after it
    delimiter = checked_delimiter(delimiter, data, paired)
    if watch is not None:
        check_file(watch)
    model = VICReg(
        **_settings(preset_name, options),
        random_state=random_state,
        device=device,
        n_threads=n_threads,
        precision=precision,
        verbose=not quiet,
    )
    table = CommandFile(data, layer=layer, ids=[id], groups=[groups], delimiter=delimiter).read()
    aside: dict[str, Any] = {"label": label, "id": id, "groups": groups, "weight": weight}
    aside |= {DROP: drop or [], LAYER: layer}
    second = None
    if paired is not None:
        second = CommandFile(paired, ids=[id], delimiter=delimiter).read()
        table.check_same_rows(second, table.ids(id))
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
        _say(f"note: {note}")
    _say(
        f"fitted {model.n_rows_} rows x {model.n_features_in_} columns in {steps} steps, "
        f"{seconds:.1f} s; model in {out}"
    )


@app.command
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

    from vicreg.command_table import LAYER, CommandFile, checked_delimiter
    from vicreg.estimator import load
    from vicreg.evaluation import evaluate as score
    from vicreg.holdout import FEWEST_GROUPS
    from vicreg.places import check_file

    if report is not None:
        check_file(report)  # before the work, not after it
    fitted = load(model)
    kept = fitted.aside_
    table = CommandFile(
        data,
        layer=layer,
        of_model=kept.get(LAYER),
        ids=[id, kept.get("id")],
        groups=[kept.get("groups")],
        delimiter=checked_delimiter(delimiter, data),
    ).read()
    aside = {**fitted.aside_, "given label": label, "given id": id}
    if not refit:
        table.check_no_feature({"label": label, "id": id}, fitted)
    name = label if label is not None else fitted.aside_.get("label")
    labelled = label is not None or (name is not None and name in table.columns)
    ids = table.ids(id, fitted.aside_.get("id"))
    batches = None if batch is None else table.column(batch)
    if batch is not None and batch not in getattr(fitted, "feature_names_in_", ()):
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
    card.notes += table.ignored(aside, columns)
    if report is not None:
        card.to_html(report)
    if as_json:
        print(card.to_json())
        return
    _print_card(card)
    if report is not None:
        _say(f"wrote {report}")


@app.command
def info(
    path: Annotated[Path, Parameter(help="Model folder; with --estimate a table's file.")],
    *,
    estimate: Annotated[
        bool, Parameter(negative=(), help="Predict the peak memory of a fit on a table.")
    ] = False,
    label: Label = None,
    id: Id = None,  # noqa: A002 (the option's name)
    groups: Groups = None,
    weight: Weight = None,
    drop: Drop = None,
    layer: Layer = None,
    delimiter: Delimiter = None,
    preset_name: Preset = "default",
    as_json: AsJson = False,
    options: Annotated[FitOptions, Parameter(name="*")] = FitOptions(),  # type: ignore[valid-type] # noqa: B008
) -> None:
    """Say what a saved model is, or what a fit on a table would take of memory."""
    if estimate:
        aside = {"label": label, "id": id, "groups": groups, "weight": weight, "drop": drop or []}
        _estimate(path, aside, layer, delimiter, _settings(preset_name, options), as_json)
        return
    of_fit = (label, id, groups, weight, drop, layer, delimiter)
    if _given(options) or any(one is not None for one in of_fit) or preset_name != "default":
        raise ValueError("options of a fit go with --estimate; a model has them already")
    from vicreg.estimator import load

    fitted = load(path)
    embedder = fitted.embedder_
    kinds = [column.kind for column in embedder.table.columns]
    facts: dict[str, Any] = {
        "rows": fitted.n_rows_,
        "columns": fitted.n_features_in_,
        "kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "paired_columns": fitted.paired_columns_.n_features_in_ if fitted.paired_columns_ else 0,
        "dropped": embedder.table.dropped,
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
    told = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts.items():
        if name == "config":
            continue
        told.add_row(name, escape(_plain(value)))
    for name, value in facts["config"].items():
        told.add_row(f"[dim]{name}[/dim]", escape(_plain(value)))
    Console().print(told)


class Terminated(SystemExit):
    """SIGTERM: from ``kill``, ``docker stop`` or a cluster's time limit."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Exits with 0, with 2 after an error, with 130 after Ctrl-C and with 143 after SIGTERM.
    """
    warnings.showwarning = _show_warning
    try:
        with _sigterm_raised(is_last=arguments is None):
            app(
                list(sys.argv[1:] if arguments is None else arguments),
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
    except (
        CycloptsError,
        ValueError,
        TypeError,
        OSError,
        ArithmeticError,
        ImportError,
        RuntimeError,
    ) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"vicreg: error: {message}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, Terminated) as stop:
        by_signal = isinstance(stop, Terminated)
        word = "terminated" if by_signal else "interrupted"
        print(": ".join(["vicreg", word, *map(str, stop.args)]), file=sys.stderr)
        sys.exit(143 if by_signal else 130)


@contextmanager
def _sigterm_raised(*, is_last: bool) -> Iterator[None]:
    """SIGTERM as an exception, so that files, pages and workers are put away as after Ctrl-C.

    Where that is the last thing that the process does, a second one cannot change its exit status.
    """
    before = signal.getsignal(signal.SIGTERM)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or before in (None, signal.SIG_IGN):  # not ours to change
        yield
        return
    since = -SAME_SIGNAL

    def end(_signal: int, _frame: object) -> None:
        nonlocal since
        now = time.monotonic()
        if now - since >= SAME_SIGNAL:
            since = now
            raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        is_told = since >= 0
        signal.signal(signal.SIGTERM, signal.SIG_IGN if is_told and is_last else before)


def _all_of(observers: list[Any]) -> Any:
    """One observer that tells all of them."""

    def observe(moment: Any) -> None:
        for one in observers:
            one(moment)

    return observe


def _given(options: Any) -> dict[str, Any]:
    """The configuration's options that were on the command line."""
    return {name: value for name, value in dataclasses.asdict(options).items() if value is not None}


def _settings(preset_name: str, options: Any) -> dict[str, Any]:
    return {**preset(preset_name), **_given(options)}


def _estimate(
    path: Path,
    aside: dict[str, Any],
    layer: str | None,
    delimiter: str | None,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    from vicreg.command_table import CommandFile, checked_delimiter
    from vicreg.memory import estimate_memory
    from vicreg.sources import read
    from vicreg.table import TableEncoder

    config = Config(**settings)
    file = CommandFile(path, layer=layer, delimiter=checked_delimiter(delimiter, path))
    given = file.read()
    given.check_aside(aside)
    source = read(given.features(aside))
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
    told = Table(show_header=False, box=None, pad_edge=False)
    for name, size in (
        ("fit, at its peak", estimate.fit),
        ("  encoded table", estimate.table),
        ("  weights, gradients, moments", estimate.parameters),
        ("  views", estimate.views),
        ("  activations of a batch", estimate.activations),
        ("embedding all rows", estimate.transform),
    ):
        told.add_row(name, f"{size / 2**20:,.0f} MiB")
    console = Console()
    console.print(f"{source.shape[0]} rows x {source.shape[1]} columns", markup=False)
    console.print(told)
    _say("beyond the process and the table in its file's form; on the CPU")


def _print_card(card: Scorecard) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("method")
    for measure in card.measures:
        table.add_column(measure, justify="right")
    for method, of_method in card.scores.items():
        values = [of_method.get(measure, float("nan")) for measure in card.measures]
        cells = ["" if value != value else f"{value:.3f}" for value in values]
        table.add_row(method, *cells, style="bold" if method == "vicreg" else None)
    console = Console()
    console.print(f"{card.title}: {card.described}", markup=False, style="bold", soft_wrap=True)
    console.print(table)
    for note in card.notes:
        console.print(f"note: {note}", markup=False, style="dim", soft_wrap=True)
    console.print(card.verdict, markup=False, soft_wrap=True)
    for one in card.advice:
        console.print(f"advice: {one.title}. {one.reason}", markup=False, soft_wrap=True)
    console.print()


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _say(line: str) -> None:
    print(line)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"vicreg: warning: {' '.join(str(message).split())}", file=sys.stderr)


if __name__ == "__main__":
    main()
