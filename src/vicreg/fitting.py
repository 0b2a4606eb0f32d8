"""The composition root: configuration and data to a fitted embedder."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from vicreg.per_row import NOTHING_TOLD, PerRow
from vicreg.plain_state import threads
from vicreg.preparation import Prepared, prepare
from vicreg.progress import ProgressBar
from vicreg.training import train, train_together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from vicreg.config import Config
    from vicreg.embedder import Embedder
    from vicreg.history import Moment, Pulse
    from vicreg.sources import Source

__all__ = ["Asked", "fit_embedder", "fit_together"]


class Asked(NamedTuple):
    """A fit that is asked for, see :func:`fit_embedder`."""

    source: Source
    config: Config
    seed: int
    told: PerRow = NOTHING_TOLD


def fit_embedder(
    source: Source,
    config: Config,
    *,
    seed: int,
    device: str = "auto",
    n_threads: int | None = None,
    precision: str = "auto",
    verbose: bool = False,
    untrained: bool = False,
    observe: Callable[[Embedder, Moment], None] | None = None,
    pulse: Callable[[Pulse], None] | None = None,
    groups: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
    paired: Source | None = None,
    whole: bool = False,
) -> Embedder:
    """Encode a table and train a network on it.

    Parameters
    ----------
    source : Source
        At least two rows.
    config : Config
    seed : int
        Everything random follows from it.
    device : str
        ``"auto"`` takes a GPU if there is one.
    n_threads : int, optional
        CPU threads; by default a rule from the size of the work.
    precision : str
        ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the processor has it and the
        work is large enough. Of the networks' products in training; embedding is float32.
    verbose : bool
        Show a progress bar.
    untrained : bool
        Leave the network as initialised: a control for what training adds.
    observe : callable, optional
        Told of the embedder, which can embed rows, and of every moment at which the fit looks at
        itself (30 times). What it raises ends the fit.
    pulse : callable, optional
        Told where the fit stands, every second or so, between two such moments.
    groups : ndarray of int, shape (rows,), optional
        Rows of one group are views of each other; held-out rows are whole groups.
    weights : ndarray, shape (rows,), optional
        Rows are drawn in proportion; a row of weight 0 is as good as not there.
    paired : Source, optional
        A second table of the same rows, for an encoder of its own into the same space.
    whole : bool
        Half a fit is of no use: Ctrl-C ends it at once, and nothing is kept.

    Raises
    ------
    ValueError
        If the table has fewer than two rows or no usable column; if groups or a second table are
        given and ``config.neighbours`` too; if a second table is and ``config.shared_weights`` is
        not.
    KeyboardInterrupt
        After Ctrl-C, if the fit must be whole, or at any time but during steps.
    """
    with threads(n_threads):  # a process that is forked later must not hang on others
        embedder, job = prepare(
            source,
            config,
            seed=seed,
            device=device,
            n_threads=n_threads,
            precision=precision,
            untrained=untrained,
            groups=groups,
            weights=weights,
            paired=paired,
        )
        if untrained:
            embedder.finish(job.rows_to_finish, job.generator, whole=whole)
            return embedder
    bar = ProgressBar(config.steps) if verbose else nullcontext(None)
    with threads(embedder.n_threads), bar as show:

        def told(moment: Moment) -> None:
            if show is not None:
                show(moment)
            if observe is not None:
                job.network.eval()
                observe(embedder, moment)
                job.network.train()

        def beat(sign: Pulse) -> None:
            if show is not None:
                show.pulse(sign)
            if pulse is not None:
                pulse(sign)

        embedder.history = train(job, observe=told, pulse=beat, whole=whole)
        embedder.finish(job.rows_to_finish, job.generator, whole=whole)
    embedder.note_the_end()
    return embedder


def fit_together(
    asked: Sequence[Asked],
    *,
    device: str = "auto",
    n_threads: int | None = None,
    pulse: Callable[[Pulse], None] | None = None,
) -> list[Embedder | Exception]:
    """:func:`fit_embedder` of several tables, configurations and seeds at once.

    For small networks, whose steps are taken in a stack where they are alike, see
    :func:`vicreg.training.train_together`. But for rounding each comes out as if it were fitted
    alone.

    Parameters
    ----------
    asked : sequence of Asked
    device, n_threads, pulse
        See :func:`fit_embedder`.

    Returns
    -------
    list of Embedder or Exception
        What came of each: a fit that fails does not keep the others from their end.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C: half a fit is none.
    """
    found: dict[int, Embedder | Exception] = {}
    prepared: dict[int, Prepared] = {}
    for place, one in enumerate(asked):
        try:
            with threads(n_threads):
                prepared[place] = prepare(
                    one.source,
                    one.config,
                    seed=one.seed,
                    device=device,
                    n_threads=n_threads,
                    groups=one.told.groups,
                    weights=one.told.weights,
                )
        except Exception as error:
            found[place] = error
    most_threads = max((each.embedder.n_threads for each in prepared.values()), default=1)
    with threads(most_threads):
        histories = train_together([each.job for each in prepared.values()], pulse=pulse)
        for (place, (embedder, job)), history in zip(prepared.items(), histories, strict=True):
            found[place] = embedder
            if isinstance(history, Exception):
                found[place] = history
                continue
            embedder.history = history
            embedder.finish(job.rows_to_finish, job.generator, whole=True)
            embedder.note_the_end()
    return [found[place] for place in range(len(asked))]
