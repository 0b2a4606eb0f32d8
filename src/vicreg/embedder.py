"""The composition root: configuration and data to a fitted embedder."""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from vicreg.inference import BLOCK, embed
from vicreg.neighbours import near_rows
from vicreg.networks import Encoder, JointEmbedding, projector
from vicreg.precision import bfloat16_pays, fastest_float32
from vicreg.progress import ProgressBar
from vicreg.sources import blocks
from vicreg.table import TableEncoder
from vicreg.training import MOST_HELD_OUT, History, train
from vicreg.views import corruption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from vicreg.config import Config
    from vicreg.sources import Source
    from vicreg.training import Moment

__all__ = ["Embedder", "build_network", "fit_embedder", "held_out_rows"]

#: Fewer held-out rows than this decide nothing.
FEWEST_HELD_OUT = 100
PRECISIONS = ("auto", "float32", "bfloat16")
#: Multiplications of a step's largest matrix product above which a second thread pays.
WORK_FOR_THREADS = 50e6


@dataclass
class Embedder:
    """A fitted table encoder and network."""

    config: Config
    table: TableEncoder
    network: JointEmbedding
    history: History
    notes: list[str] = field(default_factory=list)
    n_threads: int = 1
    #: What the networks were trained in, ``"float32"`` or ``"bfloat16"``.
    precision: str = "float32"

    def embed(self, source: Source) -> NDArray[np.float32]:
        """Embedding (rows, n_components) of a table with the fitted columns."""
        device = next(self.network.parameters()).device
        shape = source.shape[0], self.config.n_components
        embedding = np.empty(shape, dtype=np.float32)
        with _threads(self.n_threads):
            for start, part in blocks(source, least_rows=BLOCK):
                rows = self.table.transform(part, first_row=start).to(device)
                embedding[start : start + len(rows)] = embed(self.network, rows).cpu().numpy()
        return embedding


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
    observe: Callable[[Moment], None] | None = None,
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
        Told of every :class:`vicreg.training.Moment`.

    Raises
    ------
    ValueError
        If the table has fewer than two rows or no usable column.
    """
    n_rows = source.shape[0]
    if n_rows < 2:
        raise ValueError(
            "at least two rows are needed to learn an embedding, "
            f"however: n_samples={n_rows} (1 sample)"
        )
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, however: precision={precision!r}")
    place = _device(device)
    generator = torch.Generator(place).manual_seed(seed)
    order = np.random.default_rng(seed).permutation(n_rows)
    n_held_out = held_out_rows(n_rows, config)
    # Statistics come from training rows only: a held-out row must be new to the encoder too.
    training = np.sort(order[n_held_out:]) if n_held_out else None
    table = TableEncoder.fit(source, training, normal_scores=config.normal_scores)
    rows = table.transform(source, training).to(place)
    held_out = (
        table.transform(source, np.sort(order[:n_held_out])).to(place) if n_held_out else None
    )
    notes = list(table.notes)
    if len(rows) < config.batch_size:
        notes.append(
            f"batch_size lowered from {config.batch_size} to {len(rows)}: "
            "there are no more training rows"
        )
        config = replace(config, batch_size=len(rows))

    network = build_network(table, config, seed).to(place)
    work = 2 * config.batch_size * network.largest_layer
    threads = n_threads if n_threads is not None else _enough_threads(work)
    bfloat16 = bfloat16_pays(place, work) if precision == "auto" else precision == "bfloat16"
    embedder = Embedder(
        config, table, network, History(), notes, threads, "bfloat16" if bfloat16 else "float32"
    )
    if untrained:
        return embedder
    near = None
    if config.neighbours:
        with fastest_float32(math.inf):
            near = near_rows(rows, table.cardinalities, config.neighbours, generator)
    bar = ProgressBar(config.steps) if verbose else nullcontext(None)
    with _threads(threads), bar as shown:

        def tell(moment: Moment) -> None:
            for one in (shown, observe):
                if one is not None:
                    one(moment)

        embedder.history = train(
            network,
            rows,
            held_out,
            table.layout.to(place),
            corruption(swap=config.swap, mask=config.mask, noise=config.noise),
            config,
            generator=generator,
            near=near,
            bfloat16=bfloat16,
            observe=tell,
        )
    if embedder.history.stopped == "early":
        notes.append(
            f"stopped early at step {embedder.history.moments[-1].step} of {config.steps}: "
            f"the held-out loss was best at step {embedder.history.best_step}"
        )
    elif embedder.history.stopped == "interrupted":
        notes.append("interrupted from the keyboard: trained only in part")
    return embedder


def held_out_rows(n_rows: int, config: Config) -> int:
    """Rows of a table that decide when to stop; none where they would be too few."""
    wanted = min(round(config.validation_fraction * n_rows), MOST_HELD_OUT)
    return wanted if wanted >= FEWEST_HELD_OUT else 0


def build_network(table: TableEncoder, config: Config, seed: int) -> JointEmbedding:
    """The network of a configuration for a table's columns, freshly initialised."""
    branches = 1 if config.shared_weights else 2
    # Layers initialise themselves from the global generator: it is lent a seed and given back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        encoders = [
            Encoder(
                table.n_numbers,
                table.cardinalities,
                hidden=config.hidden,
                n_components=config.n_components,
                batch_norm=config.batch_norm,
                final_relu=config.final_relu,
                skip=config.skip,
            )
            for _ in range(branches)
        ]
        projectors = [
            projector(
                config.n_components,
                config.projector,
                batch_norm=config.batch_norm,
                final_relu=config.final_relu,
            )
            for _ in range(branches)
        ]
    return JointEmbedding(encoders, projectors)


def _enough_threads(work: float) -> int:
    """One thread for small products, where waiting for a second one costs more than it does."""
    return 1 if work < WORK_FOR_THREADS else torch.get_num_threads()


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', however: device={name!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"there is no GPU here, however: device={name!r}")
    return device


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
