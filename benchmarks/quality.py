"""The quality of embeddings on real tables, by one protocol for every claim that is made of it.

    python benchmarks/quality.py [--fast] [--list main | --tables NAME ...] [--methods NAME ...]
        [--splits 5] [--jobs 2] [--set NAME=VALUE ... --name NAME] [--out .quality/results.json]
        [--fresh | --report-only]

A table's rows are split 70 to 30, stratified, with seeds 0, 1, ... (whole groups where there are
groups). Every method is fitted on the 70 % without labels; the 30 % are only transformed, and
scored: silhouette by label, 10-nearest-neighbour and logistic balanced accuracy (average precision
where a class is rare), k-means against the labels. Gradient boosting on the raw table, with labels,
stands beside them. ``--fast`` takes six small tables and one split, ``--list further`` the tables
that nothing is chosen on.

Every measurement is written beside ``--out`` (``.jsonl``) as soon as it is made, and is not made
again as long as settings and code are the same. ``--set`` changes arguments of VICReg; the result
stands beside the default's in the report, under ``--name``.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import json
import multiprocessing
import os
import sys
import time
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import threadpoolctl
import torch
from sklearn.model_selection import GroupShuffleSplit, train_test_split

import methods
import tables
from records import Key, Record, append, chosen, read_records, same_settings, version
from scores import boosted, score, score_without_probes
from summary import markdown, summarise
from timing import machine
from vicreg.config import Config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Index = NDArray[np.intp]

__all__ = ["Contestant", "Task", "main", "measure", "run_task", "split_rows"]

FAST_TABLES = ("sonar", "ionosphere", "wdbc", "vehicle", "vowel", "german")
TEST_SHARE = 0.3


class Contestant(NamedTuple):
    """A method under the name that its records bear; ``overrides`` are VICReg's arguments."""

    name: str
    method: str
    overrides: dict[str, Any]

    def key(self, table: str, split: int) -> Key:
        """What its record of a split is found by."""
        settings = same_settings(methods.settings(self.method, self.overrides))
        return Key(table, split, self.name, version(self.method), settings)

    def record(self, table: str, split: int, **found: Any) -> Record:
        """Its record of a split, with or without scores."""
        return Record(
            **self.key(table, split)._asdict(),
            overrides=self.overrides,
            machine=machine(),
            date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            **found,
        )


class Task(NamedTuple):
    """Contestants on one split of one table."""

    table: str
    split: int
    contestants: tuple[Contestant, ...]
    folder: Path
    records: Path


def split_rows(table: tables.Table, split: int) -> tuple[Index, Index]:
    """Training and test rows: stratified by class, or by whole groups."""
    everything = np.arange(len(table.y))
    if table.groups is None:
        train, test = train_test_split(
            everything, test_size=TEST_SHARE, stratify=table.y, random_state=split
        )
        return train, test
    by_group = GroupShuffleSplit(1, test_size=TEST_SHARE, random_state=split)
    train, test = next(by_group.split(everything, groups=table.groups))
    return train, test


def measure(
    contestant: Contestant, table: tables.Table, split: int
) -> tuple[dict[str, float], float]:
    """A contestant's scores on a split, and the seconds of its fit."""
    train, test = (table.take(index) for index in split_rows(table, split))
    supervised = contestant.method == "boosting"
    start = time.perf_counter()
    embed = methods.fit(
        "raw" if supervised else contestant.method,
        train.X,
        random_state=split,
        overrides=contestant.overrides,
    )
    seconds = time.perf_counter() - start
    if contestant.method == "umap":
        return score_without_probes(embed(test.X), test.y), seconds
    spaces = embed(train.X), embed(test.X)
    if supervised:
        start = time.perf_counter()
        scores = boosted(*spaces, train.y, test.y, rare=table.rare)
        return scores, time.perf_counter() - start
    return score(*spaces, train.y, test.y, rare=table.rare), seconds


def run_task(task: Task) -> None:
    """Measure every contestant of a task with one thread, and write its record at once."""
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1):
        for contestant in task.contestants:
            record = _measured(contestant, task)
            append(task.records, record)
            told = ", ".join(f"{name} {value:.3f}" for name, value in record.scores.items())
            print(
                f"{task.table} {task.split} {contestant.name}: "
                f"{record.error or told} ({record.fit_seconds:.1f} s)",
                flush=True,
            )


def _measured(contestant: Contestant, task: Task) -> Record:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            table = _loaded(task.table, task.folder)
            _warm_up(contestant.method)
            scores, seconds = measure(contestant, table, task.split)
        except Exception as error:  # a method that fails on a table is a result too
            traceback.print_exc()
            told = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            return contestant.record(task.table, task.split, error=told)
    told_once = dict.fromkeys(
        f"{warning.category.__name__}: {warning.message}".splitlines()[0][:200]
        for warning in caught
    )
    return contestant.record(
        task.table, task.split, scores=scores, fit_seconds=seconds, warnings=tuple(told_once)
    )


@lru_cache(maxsize=1)
def _loaded(name: str, folder: Path) -> tables.Table:
    return tables.load(name, folder)


@cache
def _warm_up(method: str) -> None:
    """Load and compile what is loaded and compiled late, which no fit should be charged with."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    method = "raw" if method == "boosting" else method
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        methods.fit(method, X, random_state=0, overrides={"steps": 2})(X)


def tasks(
    names: Sequence[str],
    splits: int,
    contestants: Sequence[Contestant],
    *,
    folder: Path,
    records: Path,
) -> list[Task]:
    """What is not measured yet, the largest tables first."""
    done = {record.key for record in read_records(records) if not record.error}

    def size(name: str) -> int:
        listed = tables.LISTED[name]
        return min(listed.rows, tables.MOST_ROWS) * (listed.numeric + listed.categorical)

    found = []
    for name in sorted(names, key=size, reverse=True):
        for split in range(splits):
            missing = tuple(one for one in contestants if one.key(name, split) not in done)
            if missing:
                found.append(Task(name, split, missing, folder, records))
    return found


def run(planned: Sequence[Task], jobs: int) -> None:
    """Run tasks in some processes of one thread each; with one job, in this process."""
    if jobs == 1 or len(planned) < 2:
        for done, task in enumerate(planned, 1):
            run_task(task)
            print(f"{done} of {len(planned)} splits done", flush=True)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # the processes to come inherit it
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = [pool.submit(run_task, task) for task in planned]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                print(f"{done} of {len(planned)} splits done", flush=True)
        except BaseException:
            for future in futures:  # leaving the pool would wait for all that are queued
                future.cancel()
            raise


def report(out: Path, names: Sequence[str], splits: int, contestants: Sequence[Contestant]) -> str:
    """Write the summary of the records as JSON and Markdown; returns the Markdown."""
    wanted = {
        one.key(name, split) for one in contestants for name in names for split in range(splits)
    }
    records = chosen(read_records(out.with_suffix(".jsonl")), wanted)
    lists = [of for of in tables.LISTS if {*names} & {*tables.of_list(of)}]
    summary = summarise(records, names, splits, by_precision=tuple(tables.RARE), lists=lists)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(summary, indent=1), encoding="utf-8")
    page = markdown(summary)
    out.with_suffix(".md").write_text(page, encoding="utf-8")
    return page


def _contestants(options: argparse.Namespace) -> list[Contestant]:
    overrides = {}
    for assignment in options.set:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise SystemExit(f"--set takes NAME=VALUE, however: {assignment!r}")
        overrides[name] = _value(value)
    reserved = {*methods.COMPARED, *methods.CONTROLS, "boosting", "umap"}
    if bool(overrides) != bool(options.name) or options.name in reserved:
        raise SystemExit(
            "--set and --name go together, and the name is not a method's, "
            f"however: --set {options.set} --name {options.name}"
        )
    try:
        Config(**overrides)
    except (TypeError, ValueError) as error:
        raise SystemExit(f"--set: {error}") from None
    names = options.methods
    if names is None:
        left_out = {*methods.CONTROLS, *(("umap",) if options.fast else ())}
        names = [name for name in methods.available() if name not in left_out]
    named = [Contestant(name, name, {}) for name in names]
    if overrides:
        named.append(Contestant(options.name, "vicreg", overrides))
    return named


def _value(text: str) -> Any:
    """A literal of Python or JSON, and else the text itself."""
    for parse in (ast.literal_eval, json.loads):
        try:
            return parse(text)
        except (ValueError, SyntaxError):
            continue
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--fast", action="store_true", help="six small tables, one split, no UMAP")
    add("--list", choices=tables.LISTS, default="main", help="whose tables, unless --tables says")
    add("--tables", nargs="+", choices=tables.LISTED, metavar="NAME", help="of any list")
    add(
        "--methods", nargs="*", choices=methods.available(), metavar="NAME", help="none: only --set"
    )
    add("--splits", type=int, help="5 by default")
    add("--jobs", type=int, default=2, help="processes of one thread each")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="an argument of VICReg")
    add("--name", default="", help="of the configuration that --set makes")
    add("--out", type=Path, default=Path(".quality/results.json"))
    add("--folder", type=Path, default=tables.FOLDER, help="where the tables' wheels are")
    add("--fresh", action="store_true", help="forget the measurements made before")
    add("--report-only", action="store_true", help="measure nothing")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if options.fast and options.list != "main":
        raise SystemExit(f"--fast takes tables of the main list, however: --list {options.list}")
    names = options.tables or (FAST_TABLES if options.fast else tables.of_list(options.list))
    splits = options.splits or (1 if options.fast else 5)
    contestants = _contestants(options)
    records = options.out.with_suffix(".jsonl")
    start = time.perf_counter()
    if not options.report_only:
        if options.fresh:
            records.unlink(missing_ok=True)
        planned = tasks(names, splits, contestants, folder=options.folder, records=records)
        tables.install([task.table for task in planned], options.folder)
        run(planned, options.jobs)
    print(report(options.out, names, splits, contestants))
    print(f"{time.perf_counter() - start:.0f} s with {options.jobs} job(s)", file=sys.stderr)


if __name__ == "__main__":
    main()
