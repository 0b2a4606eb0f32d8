"""What ``"auto"`` stands for in a configuration, by rule, from the table alone.

Where columns are coherent (:mod:`vicreg.coherence`), distances of the table itself mean much, and
a light corruption of both views keeps them. Where they go their own ways, a row learnt from half of
its entries, beside the whole row, makes better distances.

What becomes of the learnt components' spectrum, and why, is in :mod:`vicreg.spectrum`. Where
columns are coherent it depends on the table's fineness: the more its small directions tell, the
less of the learnt components is taken for noise. There too, two halves of the columns see the same
rows, so clusters that are there are in both; where they are not the same, rows go on evenly, and
neighbourhoods would make up clusters that are none.

Where columns go their own ways the small directions of what details are made of are noise too.
Where rows are few besides, a linear model overfits them, and has less to overfit where the large
directions count for more. Of wide rows the details hold no more than large directions anyway.
Where columns are coherent small directions tell something, and with many rows a linear model learns
what: there they count for more.

The rules are for tables of numbers and categories. Counts are thinned, and of the second view some
are masked, which says less that is wrong than another row's counts would. In pairs of tables, whose
views are of two tables, both are corrupted; they have no shaped spectrum, and no details, which
would say nothing across tables. docs/quality.md and docs/inputs.md have what this rests on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from vicreg.coherence import clumpiness, coherence, fineness
from vicreg.precision import fastest_float32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vicreg.config import Config
    from vicreg.networks import Rows
    from vicreg.table import TableEncoder
    from vicreg.views import Layout

__all__ = ["Rule", "auto_values", "by_coherence"]

#: Coherence from which columns are called coherent.
COHERENT = 0.5
#: Level of the spectrum's noise where they are and their small directions tell nothing, and where
#: columns are not coherent.
LITTLE_NOISE, MUCH_NOISE = 0.2, 6.0
#: Fineness up to which small directions are taken to tell nothing, and what more of it divides the
#: noise by ten.
NOT_FINE, TENFOLD = 0.045, 0.01
#: The same of counts, whatever their coherence.
NOISE_OF_COUNTS = 3.0
#: Of counts, what is masked, in units of what is swapped elsewhere.
OF_COUNTS = 0.6
#: What the variances of details are raised to; that of so few rows of so few dimensions whose
#: columns are not coherent, and that of more than so many rows whose columns are.
AS_THEY_ARE, STEEPER, FLATTER = 1.0, 1.5, 0.5
FEW, NARROW = 1500, 256
MANY = 1000
#: Clumpiness below which coherent columns are taken to have no clusters in common.
CLUMPY = 0.2
#: How large neighbourhoods are, and those of counts.
NEIGHBOURHOODS, NEIGHBOURHOODS_OF_COUNTS = 1.0, 0.5


def auto_values(
    config: Config, rows: Rows, layout: Layout, tables: Sequence[TableEncoder], seed: int
) -> dict[str, Any]:
    """Values for the fields of a configuration that are ``"auto"``, and what goes with them.

    Parameters
    ----------
    config : Config
    rows : Rows
        Encoded training rows, more than one.
    layout : Layout
        Of the first table, on the device of the rows.
    tables : sequence of TableEncoder
        One table, or two that are paired.
    seed : int
        Of what is drawn to find out.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.config import Config
    >>> from vicreg.rules import auto_values
    >>> from vicreg.table import TableEncoder
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> table = TableEncoder.fit(X)
    >>> auto_values(Config(), table.transform(X), table.layout, [table], 0)["sides"]
    'one'
    """
    paired, counts = len(tables) > 1, any(table.depth is not None for table in tables)
    found: dict[str, Any] = {"n_top_columns": config.most_columns if counts else 0}
    if paired:
        found["detail_share"] = 0.0
    fields = ("sides", "spectrum", "neighbourhood_scale", "detail_power")
    asked = {name for name in fields if getattr(config, name) == "auto"}
    # What there is none of needs no finding out.
    parts = {"neighbourhood_scale": config.n_neighbourhood, "detail_power": config.n_details}
    matters = {name for name in asked if parts.get(name, 1)}
    if paired or not matters:
        rule = Rule(*both_sides(config.swap), "learnt", NEIGHBOURHOODS, AS_THEY_ARE)
    elif counts:
        rule = Rule("one", 0.0, NOISE_OF_COUNTS, NEIGHBOURHOODS_OF_COUNTS, AS_THEY_ARE)
        if "sides" in asked:
            found["mask"] = max(config.mask, OF_COUNTS * config.swap)
    else:
        with fastest_float32(math.inf):
            own = torch.Generator(rows.numbers.device).manual_seed(seed)
            told = rows, layout, tables[0].cardinalities, own
            of_table = coherence(*told)
            if of_table < COHERENT:
                n_dims = rows.numbers.shape[1] + sum(tables[0].cardinalities)
                few = len(rows) <= FEW and n_dims <= NARROW
                rule = by_coherence(of_table, config.swap, few=few)
            else:
                fine = fineness(*told) if "spectrum" in asked else 0.0
                clumpy = clumpiness(*told) if "neighbourhood_scale" in matters else CLUMPY
                many = len(rows) > MANY
                rule = by_coherence(of_table, config.swap, fine, clumpy, many=many)
    found |= {name: getattr(rule, name) for name in asked}
    if "sides" in asked:
        found["swap"] = rule.swap
    return found


class Rule(NamedTuple):
    """Values of the fields that bear these names in a configuration."""

    sides: Literal["both", "one"]
    swap: float
    spectrum: float | Literal["learnt"]
    neighbourhood_scale: float
    detail_power: float


def by_coherence(
    of_table: float,
    swap: float,
    fine: float = 0.0,
    clumpy: float = CLUMPY,
    *,
    few: bool = False,
    many: bool = False,
) -> Rule:
    """What views, spectrum, neighbourhoods and details are to be, by what a table's columns tell.

    ``swap`` is the share of the entries in which the views are to differ, ``few`` is whether a
    linear model on all details would overfit, and ``many`` whether it would learn small ones.

    Examples
    --------
    >>> from vicreg.rules import by_coherence
    >>> by_coherence(0.1, 0.5, few=True)
    Rule(sides='one', swap=0.5, spectrum=6.0, neighbourhood_scale=1.0, detail_power=1.5)
    >>> by_coherence(0.9, 0.51, fine=0.03, clumpy=0.5)
    Rule(sides='both', swap=0.3, spectrum=0.2, neighbourhood_scale=1.0, detail_power=1.0)
    >>> by_coherence(0.9, 0.51, fine=0.065, clumpy=0.1, many=True)
    Rule(sides='both', swap=0.3, spectrum=0.002, neighbourhood_scale=0.0, detail_power=0.5)
    """
    if of_table < COHERENT:
        return Rule("one", swap, MUCH_NOISE, NEIGHBOURHOODS, STEEPER if few else AS_THEY_ARE)
    noise = LITTLE_NOISE * 10 ** -(max(0.0, fine - NOT_FINE) / TENFOLD)
    neighbourhoods = NEIGHBOURHOODS if clumpy >= CLUMPY else 0.0
    power = FLATTER if many else AS_THEY_ARE
    return Rule(*both_sides(swap), round(noise, 6), neighbourhoods, power)


def both_sides(swap: float) -> tuple[Literal["both"], float]:
    """Both sides, and the share r of each with which views differ in ``swap``: 1 - (1 - r)^2."""
    return "both", round(1 - (1 - swap) ** 0.5, 6)
