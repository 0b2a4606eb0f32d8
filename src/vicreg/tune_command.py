"""The command ``vicreg tune``."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from vicreg.config import Config, preset
from vicreg.options import (
    AsJson,
    Data,
    FitOptions,
    Preset,
    Quiet,
    TableOptions,
    given,
)
from vicreg.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vicreg.command_table import CommandTable
    from vicreg.tuning_result import TuningResult

__all__ = ["tune"]

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def tune(
    data: Data,
    *,
    out: Annotated[Path, Parameter(help="Folder for the best model, trials and pictures.")],
    trials: Annotated[
        int, Parameter(help="Trials to add to the study.", validator=Number(gte=1))
    ] = 30,
    of_table: Annotated[TableOptions, Parameter(name="*")] = TableOptions(),  # noqa: B008
    objective: Annotated[
        list[str] | None,
        Parameter(
            negative=(),
            consume_multiple=True,
            help="One or more scores; by default silhouette with --label, else seed_agreement.",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        Parameter(help="Journal file or database URL, made or resumed. [default: OUT.journal]"),
    ] = None,
    study_name: Annotated[str, Parameter(help="Of the study in its storage.")] = "vicreg",
    timeout: Annotated[
        str | None, Parameter(help="No trial begins after this time: 90s, 10m, 2h.")
    ] = None,
    workers: Annotated[
        int, Parameter(help="Processes of one thread each.", validator=Number(gte=1))
    ] = 1,
    sampler: Annotated[Literal["auto", "tpe", "gp", "random"], Parameter(help="Of Optuna.")] = (
        "auto"
    ),
    prune: Annotated[bool, Parameter(help="Stop hopeless trials early.")] = True,
    finalists: Annotated[
        int, Parameter(help="Trials judged anew on other rows.", validator=Number(gte=0))
    ] = 3,
    margin: Annotated[
        float | None,
        Parameter(
            help="A winner must be above the default by this many deviations of all scores. "
            "[default: 0 with labels, 3 without]"
        ),
    ] = None,
    space: Annotated[
        Path | None, Parameter(help="TOML file: NAME = {low, high, log}, {choices} or {value}.")
    ] = None,
    search: Annotated[
        list[str] | None,
        Parameter(
            negative=(),
            consume_multiple=True,
            help="NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C, in place of the default's; "
            "NAME=A is fixed.",
        ),
    ] = None,
    only: Annotated[
        bool, Parameter(negative=(), help="Search what --search and --space name, nothing else.")
    ] = False,
    watch: Annotated[
        Path | None, Parameter(help="HTML file that is rewritten while the search runs.")
    ] = None,
    report: Annotated[
        Path | None, Parameter(help="HTML file to write: the best model, and the study's pictures.")
    ] = None,
    preset_name: Preset = "default",
    random_state: Annotated[
        int | None,
        Parameter(
            help="Seed. [default: that of the study, or 0]", validator=Number(gte=0, lt=2**32)
        ),
    ] = None,
    device: Annotated[str, Parameter(help="auto, cpu or cuda.")] = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    options: Annotated[FitOptions, Parameter(name="*")] = FitOptions(),  # type: ignore[valid-type] # noqa: B008
) -> None:
    """Search for the configuration with the best embedding, and save its model.

    Options of a fit are the same for all trials, and so is what a preset sets, but for what is
    searched by name. OUT is the model's folder, with the trials and pictures in OUT/tuning. The
    study is kept in OUT.journal: the same command again adds trials.
    """
    from vicreg.command_outputs import STUDY, check_no_input, check_page
    from vicreg.command_table import CommandFile, checked_delimiter
    from vicreg.persistence import check_free
    from vicreg.places import fresh_file
    from vicreg.storages import is_url, without_password
    from vicreg.tuning import tune as run
    from vicreg.tuning_result import write_contents

    check_free(out)  # before the work, not after it
    if storage is None:
        storage = str(out.with_name(f"{out.name}.journal"))
    journal = None if is_url(storage) else Path(storage)
    check_page("--storage", journal, data, model=out, at_once=True)
    check_page("--report", report, data, model=out)
    check_page("--watch", watch, data, model=out, at_once=True)
    for option, page in (("--report", report), ("--watch", watch)):
        check_no_input(option, page, journal, called="the study's journal")
    check_no_input("--report", report, watch, called="the one of --watch")
    delimiter = checked_delimiter(of_table.delimiter, data)
    if search == []:
        raise ValueError("--search must be followed by NAME=..., however: by nothing; leave it out")
    asked = {**_read_space(space), **_all_searched(search or ())}
    table = CommandFile(
        data,
        layer=of_table.layer,
        ids=[of_table.id],
        texts=[of_table.groups],
        delimiter=delimiter,
    ).read()
    aside = of_table.aside
    table.check_aside(aside)
    beside = table.per_row(aside)
    started = time.perf_counter()
    with ExitStack() as stack:
        observe = None
        if watch is not None:
            from vicreg.study_page import StudyPage

            observe = stack.enter_context(StudyPage(watch, f"Tuning on {data.name}", trials))
        stack.enter_context(_resumable(storage))
        result = run(
            table.features(aside),
            None if of_table.label is None else table.column(of_table.label),
            **beside,
            n_trials=trials,
            objective=objective,
            space=asked,
            only=only,
            fixed=given(options),
            base=preset(preset_name),
            storage=storage,
            study_name=study_name,
            timeout=None if timeout is None else _seconds(timeout),
            n_workers=workers,
            sampler=sampler,
            prune=prune,
            finalists=finalists,
            margin=margin,
            device=device,
            random_state=_seed(random_state, storage, study_name, workers),
            observe=observe,
            verbose=not quiet,
        )
        result.best_estimator_.aside_ = aside
        # All that may fail comes before the first file is written.
        contents, facts = result.contents(), _facts(result, out, storage)
        card = None if report is None else _report(result, table, aside, beside, data)
    with _resumable(storage):
        result.best_estimator_.save(out)
        written = write_contents(contents, out / STUDY)
        if report is not None and card is not None:
            with fresh_file(report) as fresh:
                fresh.write_text(card, encoding="utf-8")
    seconds = time.perf_counter() - started
    if as_json:
        print(json.dumps({**facts, "seconds": round(seconds, 2)}))
        return
    changed = _changes(result.best_config)
    for note in result.best_estimator_.notes_:
        say(f"note: {note}")
    say(facts["summary"])
    say(f"configuration: {changed or 'the default'}")
    say(
        f"wrote {out} and {len(written)} files in {out / STUDY} in {seconds:.0f} s; "
        f"study in {without_password(storage)}"
    )


def _seed(given: int | None, storage: str, study_name: str, n_workers: int) -> int | None:
    """The seed that is given, or that of a study that is there (None), or 0."""
    from vicreg.storages import check_storage
    from vicreg.studies import seed_of_study

    if given is not None:
        return given
    check_storage(storage, n_workers)
    return 0 if seed_of_study(storage, study_name) is None else None


@contextmanager
def _resumable(storage: str) -> Iterator[None]:
    """What ends the search early says where its trials are."""
    from vicreg.storages import in_words, is_url, without_password
    from vicreg.workers import WorkersDiedError

    try:
        with in_words(storage):
            yield
    except (KeyboardInterrupt, SystemExit, WorkersDiedError) as stop:
        if is_url(storage) or Path(storage).exists():
            kept = f"finished trials are kept in {without_password(storage)}"
            why = (f"{stop}; " if isinstance(stop, WorkersDiedError) else "") + kept
            stop.args = (f"{why}, the same command again adds to them",)
        raise


def _report(
    result: TuningResult,
    table: CommandTable,
    aside: dict[str, Any],
    beside: dict[str, Any],
    data: Path,
) -> str:
    """A page: the winner's configuration scored on held-out rows, beside the study."""
    from sklearn.base import clone

    from vicreg.evaluation import evaluate

    label, row_id = aside["label"], table.ids(aside["id"])
    card = evaluate(
        clone(result.best_estimator_).set_params(verbose=False),
        table.features(aside),
        None if label is None else table.column(label),
        **beside,
        ids=None if row_id is None else table.column(row_id),
        title=data.name,
        label_name=label or "label",
    )
    card.notes.append(result.summary())
    card.pictures = result.for_report()
    return card.to_html()


def _facts(result: TuningResult, out: Path, storage: str) -> dict[str, Any]:
    from vicreg.storages import without_password

    states = [trial["state"] for trial in result.trials]
    return {
        "model": str(out),
        "storage": without_password(storage),
        "trials": {state: states.count(state) for state in sorted(set(states))},
        "objectives": list(result.objectives),
        "best_trial": result.best_trial,
        "best_config": result.best_config.as_dict(),
        "finalists": result.finalists,
        "notes": result.best_estimator_.notes_,
        "summary": result.summary(),
    }


def _changes(config: Config) -> str:
    """What differs from the default, in short."""
    default = Config().as_dict()
    told = []
    for name, value in config.as_dict().items():
        if value != default[name]:
            told.append(f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}")
    return ", ".join(told)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    if found is None:
        raise ValueError(f"--timeout must be a time such as 90s, 10m or 2h, however: {text!r}")
    return float(found[1]) * UNITS[found[2]]


def _read_space(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    if path.is_dir():
        raise IsADirectoryError(f"--space: {path} is a folder; give a TOML file")
    if not path.exists():
        raise FileNotFoundError(f"--space: no such file: {path}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--space: {path} is not TOML: {error}") from None


def _all_searched(texts: Sequence[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for text in texts:
        name, domain = _searched(text)
        if name in found:
            raise ValueError(
                f"--search must name an argument once, however: {name} twice; drop one"
            )
        found[name] = domain
    return found


def _searched(text: str) -> tuple[str, object]:
    name, equals, told = text.partition("=")
    if not equals or not told:
        raise ValueError(
            f"--search must be NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C, however: {text!r}"
        )
    parts = told.split(":")
    if len(parts) == 1:
        values = [_value(part) for part in told.split(",")]
        return name, {"choices": values} if len(values) > 1 else {"value": values[0]}
    if len(parts) > 3 or (len(parts) == 3 and parts[2] not in ("log", "linear")):
        raise ValueError(f"--search: a range is LOW:HIGH or LOW:HIGH:log, however: {text!r}")
    return name, {
        "low": _value(parts[0]),
        "high": _value(parts[1]),
        "log": parts[2:] == ["log"],
    }


def _value(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
