"""Which objective picks good configurations? Random configurations on real tables, by all of them.

    python benchmarks/tuning.py [--tables NAME ...] [--trials 20] [--steps 500] [--seed 0]
        [--split 0] [--again 1] [--objectives NAME ...] [--jobs 2] [--folder .tuning]
        [--margin 3] [--report-only]

A table's rows are split 70 to 30 as in ``quality.py``. The default configuration (trial 0) and
random ones from the default search space, the same for every table, are fitted on the 70 %. The
labels of the 30 % give the truth: linear, knn, silhouette. Every objective of the package is scored
on the same rows; those that need no labels are given none. Printed are, for every objective, the
rank correlation with each truth, and the regret of the configuration it picks: how far its truth is
below the best trial's, beside the default's. With ``--again`` the same configurations are fitted
and judged on another split too, and the same table is printed with the truth of that one: the best
of many trials on the same rows is partly the luckiest, and other rows tell how much of it.

Embeddings are kept under ``--folder`` as soon as they are made, so a run can be stopped and taken
up again, and a new objective costs no fit. All fits take ``--steps`` steps, the default's too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import threadpoolctl
import torch

import tables
from quality import split_rows
from records import version
from scores import score
from search_summary import markdown, on_other_rows, summarise
from timing import machine
from vicreg.config import Config
from vicreg.finalists import LABEL_FREE_MARGIN
from vicreg.objectives import OBJECTIVES, Bench, Fits
from vicreg.search_space import draw, search_space, settings_of
from vicreg.sources import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicreg.objectives import Side, Which

    Matrix = NDArray[np.floating]

TABLES = (
    *("sonar", "vehicle", "vowel", "wdbc", "ionosphere", "german"),
    *("pbmc68k", "segment", "splice", "mfeat", "spambase", "satimage"),
)
#: The objectives that need no labels.
WITHOUT_LABELS = tuple(one.name for one in OBJECTIVES.values() if not one.needs_labels)
FOLDER = Path(__file__).parent.parent / ".tuning"


class Drawn:
    """Values of a space from a generator, by the same calls that Optuna's trials answer."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:  # noqa: ARG002
        if log:
            return float(np.exp(self.random.uniform(np.log(low), np.log(high))))
        return float(self.random.uniform(low, high))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        drawn = self.suggest_float(name, low - 0.5, high + 0.5, log=log)
        return int(np.clip(round(drawn), low, high))

    def suggest_categorical(self, name: str, choices: Any) -> Any:  # noqa: ARG002
        return choices[int(self.random.integers(len(choices)))]


def configuration(trial: int, steps: int, seed: int) -> Config:
    """Trial 0 is the default; others are drawn, the same for every table."""
    space, fixed = search_space(fixed={"steps": steps})
    drawn = draw(space, Drawn(np.random.default_rng([seed, trial]))) if trial else {}
    return Config(**settings_of({**drawn, **fixed}))


class KeptFits(Fits):
    """Fits whose embeddings are kept in files."""

    def __init__(self, bench: Bench, config: Config, path: Path) -> None:
        super().__init__(bench, config, seed=0, n_threads=1)
        self.path = path

    def space(self, side: Side, which: Which = "plain", repeat: int = 0) -> Matrix:
        """As :meth:`Fits.space`, from the file if there is one."""
        kept = self._kept(f"{which}{repeat}")
        if kept is None:
            train = super().space("train", which, repeat)
            test = super().space("test", which, repeat)
            kept = self._keep(f"{which}{repeat}", train=train, test=test)
        return kept[side]

    @cached_property
    def views(self) -> Matrix:
        """As :attr:`Fits.views`, from the file if there is one."""
        kept = self._kept("views") or self._keep("views", views=super().views)
        return kept["views"]

    def _kept(self, name: str) -> dict[str, Matrix] | None:
        file = self.path.with_name(f"{self.path.name}-{name}.npz")
        if not file.exists():
            return None
        with np.load(file) as arrays:
            return dict(arrays)

    def _keep(self, name: str, **arrays: Matrix) -> dict[str, Matrix]:
        file = self.path.with_name(f"{self.path.name}-{name}.npz")
        fresh = file.with_name(f".{os.getpid()}-{file.name}")
        np.savez(fresh, **arrays)  # type: ignore[arg-type]
        fresh.rename(file)
        return arrays


class Task(NamedTuple):
    """One configuration on one table."""

    table: str
    split: int
    trial: int
    steps: int
    seed: int
    folder: Path
    objectives: tuple[str, ...]
    other_split: int | None = None


def run_task(task: Task) -> dict[str, Any]:
    """Truth and objectives of a configuration on a table, in one thread."""
    torch.set_num_threads(1)
    config = configuration(task.trial, task.steps, task.seed)
    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits = _fits(task, task.split, config)
        found = {
            **task._asdict(),
            "folder": fits.path.parent.name,
            "config": config.as_dict(),
            "truth": _truth(task, task.split, fits),
            "objectives": {name: OBJECTIVES[name].score(fits) for name in task.objectives},
        }
        if task.other_split is not None:
            found["again"] = _truth(task, task.other_split, _fits(task, task.other_split, config))
        return found


def _fits(task: Task, split: int, config: Config) -> KeptFits:
    of_run = (
        task.folder
        / version("vicreg").replace("/", "-")
        / f"{task.table}-{split}-{task.steps}-{task.seed}"
    )
    of_run.mkdir(parents=True, exist_ok=True)
    return KeptFits(_bench(task.table, split)[1], config, of_run / str(task.trial))


def _truth(task: Task, split: int, fits: Fits) -> dict[str, float]:
    table, bench = _bench(task.table, split)
    train, test = bench.train, bench.test
    scores = score(*fits.spaces(), table.y[train], table.y[test], rare=table.rare)
    return {name: scores[name] for name in ("linear", "knn", "silhouette")}


@lru_cache(maxsize=2)
def _bench(name: str, split: int) -> tuple[tables.Table, Bench]:
    table = tables.load(name)
    return table, Bench(read(table.X), seed=0, split=split_rows(table, split))


def _failed(task: Task, error: Exception) -> dict[str, Any]:
    told = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return {**task._asdict(), "folder": "", "error": told}


def run(planned: Sequence[Task], jobs: int) -> list[dict[str, Any]]:
    """All tasks, in some processes of one thread each; one that fails is a result too."""
    found: list[dict[str, Any]] = []
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = {pool.submit(run_task, task): task for task in planned}
        for done, future in enumerate(as_completed(futures), 1):
            try:
                found.append(future.result())
            except Exception as error:  # written down with its cause
                found.append(_failed(futures[future], error))
            seconds = time.perf_counter() - start
            print(f"{done} of {len(planned)}, {seconds:.0f} s", file=sys.stderr, flush=True)
    return sorted(found, key=lambda one: (one["table"], one["split"], one["trial"]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", choices=tables.LISTED, default=TABLES)
    parser.add_argument("--trials", type=int, default=20, help="beside the default")
    parser.add_argument("--steps", type=int, default=500, help="of every fit")
    parser.add_argument("--seed", type=int, default=0, help="of the random configurations")
    parser.add_argument("--split", type=int, default=0)
    parser.add_argument("--again", type=int, help="another split, to judge the same once more on")
    parser.add_argument(
        "--objectives",
        nargs="*",
        choices=WITHOUT_LABELS,
        default=WITHOUT_LABELS,
        metavar="NAME",
        help="none: the truth alone, for what --again says of it",
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument(
        "--margin",
        type=float,
        default=LABEL_FREE_MARGIN,
        help="standard deviations by which a pick must be above the default",
    )
    parser.add_argument("--report-only", action="store_true")
    options = parser.parse_args(arguments)
    records = options.folder / "records.json"
    if not options.report_only:
        tables.install(options.tables)
        # Trial by trial: after any time all tables have had as many.
        planned = [
            Task(
                name,
                options.split,
                trial,
                options.steps,
                options.seed,
                options.folder,
                tuple(options.objectives),
                options.again,
            )
            for trial in range(options.trials + 1)
            for name in options.tables
        ]
        found = run(planned, options.jobs)
        records.write_text(
            json.dumps({"machine": machine(), "version": version("vicreg"), "trials": found}),
            encoding="utf-8",
        )
    kept = json.loads(records.read_text(encoding="utf-8"))
    print(markdown(summarise(kept, options.margin)))
    if any("again" in trial for trial in kept["trials"]):
        print("\nThe same, judged on other rows:\n")
        print(markdown(summarise(on_other_rows(kept), options.margin)))


if __name__ == "__main__":
    main()
