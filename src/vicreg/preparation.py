"""All that comes before training: a table and a configuration to a network and its rows."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from vicreg.companions import with_companions
from vicreg.draws import typical_rows
from vicreg.embedder import Embedder
from vicreg.history import History
from vicreg.neighbours import near_rows
from vicreg.networks import Encoder, JointEmbedding, projector
from vicreg.pairs import SECOND, PairedEmbedding, PairedRows, PairedViews, naming_second
from vicreg.partners import Mates, Near
from vicreg.per_row import split_rows
from vicreg.precision import bfloat16_pays, fastest_float32
from vicreg.rules import auto_values
from vicreg.table import TableEncoder
from vicreg.training import MOST_HELD_OUT, Job
from vicreg.views import TwoViews, corruption

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicreg.config import Config
    from vicreg.networks import Rows
    from vicreg.partners import Partners
    from vicreg.sources import Source
    from vicreg.views import Compose, ViewMaker

__all__ = ["Prepared", "build_network", "device_named", "held_out_rows", "prepare"]

#: Fewer held-out rows than this decide nothing.
FEWEST_HELD_OUT = 100
NO_NEIGHBOURHOODS = (
    "no neighbourhoods: columns tell of each other, yet two halves of them fall into different "
    "clusters; neighbourhood_scale=1 has them all the same"
)
PRECISIONS = ("auto", "float32", "bfloat16")
#: Multiplications of a step's largest matrix product above which a second thread pays.
WORK_FOR_THREADS = 50e6


class Prepared(NamedTuple):
    """An embedder that has yet to be trained, and on what."""

    embedder: Embedder
    job: Job


def prepare(
    source: Source,
    config: Config,
    *,
    seed: int,
    device: str,
    n_threads: int | None,
    precision: str = "auto",
    untrained: bool = False,
    groups: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
    paired: Source | None = None,
) -> Prepared:
    """Encode a table, settle its configuration, and make the network that is to be trained.

    Arguments and errors are those of :func:`vicreg.fitting.fit_embedder`.
    """
    n_rows = source.shape[0]
    if n_rows < 2:
        raise ValueError(
            "at least two rows are needed to learn an embedding, "
            f"however: n_samples={n_rows} (1 sample)"
        )
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, however: precision={precision!r}")
    if groups is not None and config.neighbours:
        raise ValueError(
            "second views are made of near rows or of rows of the same group, not of both, "
            f"however: groups and neighbours={config.neighbours}"
        )
    if paired is not None:
        _check_paired(source, paired, config)
    place = device_named(device)
    generator = torch.Generator(place).manual_seed(seed)
    # Statistics come from training rows only: a held-out row must be new to the encoder too.
    n_there = n_rows if weights is None else int(np.count_nonzero(weights))
    training, judging, told_of_rows = split_rows(
        n_rows,
        held_out_rows(n_there, config),
        fewest=FEWEST_HELD_OUT,
        seed=seed,
        groups=groups,
        weights=weights,
    )
    counted = None if weights is None or weights.all() else np.flatnonzero(weights)
    if weights is not None and len(np.unique(weights[weights > 0])) == 1:
        weights = None  # those that are there all count the same
    sources = [source] if paired is None else [source, paired]
    tables = []
    for which, one in enumerate(sources):
        with naming_second() if which else nullcontext():
            table = TableEncoder.fit(
                one,
                training,
                counted=counted,
                normal_scores=config.normal_scores,
                weights=weights,
                holds=config.kind,
                n_top_columns=config.most_columns,
                smooth_clip=config.smooth_clip,
            )
        tables.append(table)
    table = tables[0]
    rows = _encoded(tables, sources, training, place)
    held_out = None if judging is None else _encoded(tables, sources, judging, place)
    if config.n_top_columns not in ("auto", 0) and all(one.depth is None for one in tables):
        raise ValueError(
            "n_top_columns chooses among counts, which this table does not seem to hold, "
            f"however: n_top_columns={config.n_top_columns}. If it does, say kind='counts' "
            "(--kind counts)"
        )
    notes = [
        whose + note
        for whose, one in zip(("", SECOND), tables, strict=False)
        for note in [*one.notes, *_notes_on_counts(one, config)]
    ]
    notes += told_of_rows
    if len(rows) < config.batch_size:
        notes.append(
            f"batch_size lowered from {config.batch_size} to {len(rows)}: "
            "there are no more training rows"
        )
        config = replace(config, batch_size=len(rows))

    second = tables[1] if paired is not None else None
    layout = table.layout.to(place)
    weight = None if weights is None else _of_rows(weights, training, place)
    typical = None
    if weight is not None:
        typical = rows.take(typical_rows(weight, torch.Generator(place).manual_seed(seed)))
    told = rows if typical is None else typical
    chosen = auto_values(config, told, layout, tables, seed)
    if config.n_neighbourhood and chosen.get("neighbourhood_scale") == 0:
        notes.append(NO_NEIGHBOURHOODS)
    if second is not None and config.detail_share not in ("auto", 0.0):
        notes.append("detail_share is 0: of a pair of tables all components are learnt")
    config = replace(config, **chosen)
    if config.block_share:
        layout = with_companions(layout, told, table.cardinalities, seed)
    network = build_network(table, config, seed, second).to(place)
    work = 2 * config.batch_size * network.largest_layer
    threads = n_threads if n_threads is not None else _enough_threads(work)
    bfloat16 = bfloat16_pays(place, work) if precision == "auto" else precision == "bfloat16"
    embedder = Embedder(
        config,
        table,
        network,
        History(),
        notes,
        threads,
        "bfloat16" if bfloat16 else "float32",
        second,
    )
    near: Partners | None = None
    held_out_near: Partners | None = None
    if config.neighbours and not untrained:
        with fastest_float32(math.inf):
            found = near_rows(rows, table.cardinalities, config.neighbours, generator)
        near = Near(found, config.near_share)
    elif groups is not None:
        near = Mates.of(_of_rows(groups, training, place))
        held_out_near = None if judging is None else Mates.of(_of_rows(groups, judging, place))
    job = Job(
        network,
        rows,
        held_out,
        layout,
        _corruption(table, config, place),
        config,
        generator,
        near=near,
        held_out_near=held_out_near,
        weights=weight,
        typical=typical,
        make_views=TwoViews if second is None else _across(told, second, config, seed),
        bfloat16=bfloat16,
    )
    return Prepared(embedder, job)


def held_out_rows(n_rows: int, config: Config) -> int:
    """Rows of a table that decide when to stop; none where they would be too few."""
    wanted = min(round(config.validation_fraction * n_rows), MOST_HELD_OUT)
    return wanted if wanted >= FEWEST_HELD_OUT else 0


def build_network(
    table: TableEncoder, config: Config, seed: int, paired: TableEncoder | None = None
) -> JointEmbedding:
    """The network of a configuration for the columns of one table or two, freshly initialised."""
    branches = 1 if config.shared_weights else 2
    tables = [table] * branches if paired is None else [table, paired]
    # Their own: PyTorch's global one is the user's, and other threads'.
    generator = torch.Generator().manual_seed(seed)
    encoders = [
        Encoder(
            one.n_numbers,
            one.cardinalities,
            hidden=config.hidden,
            n_components=config.n_learnt,
            batch_norm=config.batch_norm,
            final_relu=config.final_relu,
            skip=config.skip,
            n_neighbourhood=config.n_neighbourhood,
            n_details=config.n_details,
            n_waves=config.detail_waves,
            shaped=config.spectrum != "learnt",
            generator=generator,
        )
        for one in tables
    ]
    projectors = [
        projector(
            config.n_learnt,
            config.projector,
            batch_norm=config.batch_norm,
            final_relu=config.final_relu,
            generator=generator,
        )
        for _ in range(branches)
    ]
    if paired is not None:
        return PairedEmbedding((encoders[0], encoders[1]), projectors[0])
    return JointEmbedding(encoders, projectors)


def _encoded(
    tables: list[TableEncoder],
    sources: list[Source],
    index: NDArray[np.intp] | None,
    place: torch.device,
) -> Rows:
    rows = []
    for which, (table, source) in enumerate(zip(tables, sources, strict=True)):
        with naming_second() if which else nullcontext():
            rows.append(table.transform(source, index).to(place))
    return rows[0] if len(rows) == 1 else PairedRows.of(*rows)


def _corruption(table: TableEncoder, config: Config, place: torch.device) -> Compose:
    return corruption(
        swap=config.swap,
        mask=config.mask,
        noise=config.noise,
        block_share=config.block_share,
        thin=table.thinning(config.thin, place),
    )


def _across(rows: Rows, second: TableEncoder, config: Config, seed: int) -> ViewMaker:
    assert isinstance(rows, PairedRows)
    place = rows.numbers.device
    layout = second.layout.to(place)
    if config.block_share:
        layout = with_companions(layout, rows.second, second.cardinalities, seed)
    return partial(
        PairedViews,
        second_layout=layout,
        second_corrupt=_corruption(second, config, place),
    )


def _check_paired(source: Source, paired: Source, config: Config) -> None:
    if paired.shape[0] != source.shape[0]:
        raise ValueError(
            "X_paired must have the rows of X, in the same order, "
            f"however: {paired.shape[0]} rows, X has {source.shape[0]}"
        )
    for name, told, wanted in (
        ("neighbours", config.neighbours, 0),
        ("shared_weights", config.shared_weights, True),
    ):
        if told != wanted:
            raise ValueError(
                f"with X_paired {name} must be {wanted!r}: each table has an encoder of its own, "
                f"and a row's views are the row in both; however: {name}={told!r}"
            )


def _notes_on_counts(table: TableEncoder, config: Config) -> list[str]:
    if table.depth is None or config.kind != "auto":
        return []
    note = (
        "read as counts (whole numbers, mostly 0, overdispersed): brought to a depth of "
        f"{table.depth.target:g}, log(1 + x); kind='table' (--kind table) takes them as they are"
    )
    return [note]


def _of_rows(
    values: NDArray[Any], index: NDArray[np.intp] | None, place: torch.device
) -> torch.Tensor:
    return torch.from_numpy(values if index is None else values[index]).to(place)


def _enough_threads(work: float) -> int:
    """One thread for small products, where waiting for a second one costs more than it does."""
    return 1 if work < WORK_FOR_THREADS else torch.get_num_threads()


def device_named(name: str) -> torch.device:
    """The device of a name; ``"auto"`` is a GPU if there is one.

    Raises
    ------
    ValueError
        If the name is another than ``"auto"``, ``"cpu"`` or a CUDA device's, or there is no GPU.
    """
    if not isinstance(name, str):
        raise TypeError(f"device must be 'auto', 'cpu' or 'cuda', however: device={name!r}")
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
