"""A table as two tensors and a schema: standardised numbers, category codes.

Statistics come from the rows given to :meth:`TableEncoder.fit` and from no others.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from vicreg.columns import (
    DATE_PARTS,
    Column,
    kind_of,
    looks_like_numbers,
    numbers_of,
    parts_of,
    texts_of,
)
from vicreg.counts import Depth, checked_counts, looks_like_counts, most_variable
from vicreg.frames import listed
from vicreg.moments import Moments
from vicreg.networks import Rows
from vicreg.quantiles import NormalScores
from vicreg.sources import blocks, column_names, dense, take_rows
from vicreg.text_columns import category_of, count, nearly_numbers, on_odd_text
from vicreg.views import Layout, Thin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicreg.columns import Kind
    from vicreg.sources import Block, Source

    Index = NDArray[np.intp]

__all__ = ["Column", "TableEncoder"]

#: Standard deviations beyond which a number is drawn in: a column that hardly varied in the fitted
#: rows can put a new row thousands of deviations away from all others.
FARTHEST = 10.0
#: Where numbers are cut before they are squared.
LARGEST = 1e6
#: From here on float64 does not tell all whole numbers apart.
LARGEST_EXACT = 2.0**53
#: What columns hold that are no counts, by their kind.
NO_COUNTS = {"category": "text", "datetime": "dates", "duration": "durations"}
#: Why a column is dropped that is constant only once it is read.
ROUNDED_TO_ONE = "constant in float64"


class _Places(NamedTuple):
    """Where encoded numbers stand, and what they are made of.

    Of the table's numbers: their ``positions`` in it, the places of their ``values`` and of their
    normal scores (``scored``), which those that are ``ranked`` have; of those with missing values,
    places of the flag (``flags``) and of the value (``flagged``). ``others`` are columns of other
    kinds, each with its first place.
    """

    positions: list[int]
    values: list[int]
    ranked: list[int]
    scored: list[int]
    flags: list[int]
    flagged: list[int]
    others: list[tuple[int, Column]]
    width: int


@dataclass
class TableEncoder:
    """Fitted encoding of a table.

    - Numbers and booleans are standardised, and drawn in to at most 10 standard deviations from
      the mean, or smoothly where ``smooth_clip`` c is above 0: z becomes z / sqrt(1 + (z / c)^2).
      A missing value becomes the mean (0), and a column that has missing values in the fitted
      rows gets a flag beside it.
    - Dates become the time and sines and cosines of the time of day, week and year (UTC).
    - Categories become codes, the most frequent first; values that are rare in the fitted rows, or
      not in them, share code 0. Missing is a category of its own.
    - Constant columns, empty columns and identifiers (text with nearly no value twice) are dropped.
    - Counts (``depth`` is there) are brought to the fitted rows' median depth, and their logarithm
      is centred and scaled: by the geometric mean of the column's own deviation and that of all
      columns (root mean square), so that what is hardly ever seen stays small.

    Source of the smooth clipping: Holzmüller, Grinsztajn, Steinwart, "Better by Default: Strong
    Pre-Tuned MLPs and Boosted Trees on Tabular Data", NeurIPS 2024, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.table import TableEncoder
    >>> X = np.array([[1.0, 7.0], [3.0, 7.0], [np.nan, 7.0]])
    >>> encoder = TableEncoder.fit(X)
    >>> encoder.transform(X).numbers
    tensor([[-1.0000, -0.7071],
            [ 1.0000, -0.7071],
            [ 0.0000,  1.4142]])
    >>> encoder.notes
    ["dropped 1 constant column: 'x1'"]
    """

    columns: list[Column]
    dropped: dict[str, str]
    mean: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    scale: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    scores: NormalScores | None = None
    depth: Depth | None = None
    smooth_clip: float = 0.0
    #: What to tell of columns that are kept; a fit's own notes are what a model folder holds.
    remarks: list[str] = field(default_factory=list, compare=False)

    @classmethod
    def fit(
        cls,
        source: Source,
        index: Index | None = None,
        *,
        counted: Index | None = None,
        normal_scores: bool = False,
        weights: NDArray[np.float64] | None = None,
        holds: str = "table",
        n_top_columns: int = 0,
        smooth_clip: float = 0.0,
    ) -> TableEncoder:
        """Learn kinds, statistics and categories from a table.

        Parameters
        ----------
        source : Source
            The table. It is read in blocks, so that no copy of it is ever made.
        index : ndarray of int, optional
            The rows that statistics and categories come from; by default all of them.
        counted : ndarray of int, optional
            The rows that say what columns hold; by default all of them.
        normal_scores : bool
            Give every number a second part, its normal score.
        weights : ndarray, shape (rows of the table,), optional
            How much a row counts, above 0: in means and deviations, and in what is a rare category
            (by its share of the weight). Normal scores do not know weights.
        holds : {"table", "counts", "auto"}
            Whether the table holds counts; ``"auto"`` looks, unless normal scores are asked for.
        n_top_columns : int
            Of counts, how many columns to keep; 0 for all.
        smooth_clip : float
            Of other numbers, the standard deviations that none is farther from the mean; 0 for no
            smooth clipping.

        Raises
        ------
        TypeError
            If a column holds something that is neither number, date, text nor truth value.
        ValueError
            If a number is infinite, no column is left, or counts are no counts.
        """
        names = column_names(source)
        recognise = holds == "auto" and not normal_scores  # which are of numbers, not of counts
        if holds == "counts" or (recognise and looks_like_counts(source, index)):
            return cls._fit_counts(source, index, counted, weights, n_top_columns)
        kinds = _kinds(source, names, counted)
        draft = cls(
            [
                Column(str(name), position, kind, _all_parts(kind, normal_scores))
                for position, (name, kind) in enumerate(zip(names, kinds, strict=True))
                if kind is not None and kind != "category"
            ],
            {},
        )
        if normal_scores:
            draft.scores = draft._fit_scores(source, index)
        texts: dict[int, dict[str | None, float]] = {
            position: {} for position, kind in enumerate(kinds) if kind == "category"
        }
        weight = None
        if weights is not None:
            weight = weights if index is None else weights[index]
            weight = weight / weight.mean()  # only proportions count
        moments = Moments.of(
            lambda: (draft.raw(part, at) for at, part in blocks(source, index)), weight
        )
        for at, part in blocks(source, index) if texts else ():
            for position, counts in texts.items():
                found = texts_of(part, position, names[position])
                count(counts, found, None if weight is None else weight[at : at + len(found)])
        columns: list[Column] = []
        dropped: dict[str, str] = {}
        mean: list[float] = []
        scale: list[float] = []
        place = 0  # in the draft
        for position, (name, kind) in enumerate(zip(names, kinds, strict=True)):
            kept: Column | str
            if kind is None:
                kept = "empty"
            elif kind == "category":
                kept = category_of(texts[position], position, str(name))
            else:
                parts = _all_parts(kind, normal_scores)
                own = moments.take(slice(place, place + len(parts)))
                place += len(parts)
                kept = own.column(str(name), position, kind, parts)
                if kept == "constant" and abs(own.high[0]) >= LARGEST_EXACT:
                    kept = _why_constant(source, index, position, name)
                if isinstance(kept, Column):
                    of_parts = own.of_parts(kept, parts)
                    mean += of_parts[0]
                    scale += of_parts[1]
            if isinstance(kept, str):
                dropped[str(name)] = kept
            else:
                columns.append(kept)
        encoder = cls(columns, dropped, np.array(mean), np.array(scale), smooth_clip=smooth_clip)
        if draft.scores is not None:
            has_score = {column.position for column in columns if "score" in column.parts}
            scored = [c.position in has_score for c in draft.columns if c.kind == "number"]
            encoder.scores = NormalScores(draft.scores.points[scored])
        encoder.remarks = [
            on_odd_text(source, position, names[position])
            for position, counts in texts.items()
            if nearly_numbers(counts)
        ]
        encoder._check_columns()
        return encoder

    @classmethod
    def _fit_counts(
        cls,
        source: Source,
        index: Index | None,
        counted: Index | None,
        weights: NDArray[np.float64] | None,
        n_top_columns: int,
    ) -> TableEncoder:
        names = column_names(source)
        for name, kind in zip(names, _kinds(source, names, counted), strict=True):
            held = NO_COUNTS.get(str(kind))
            if held is not None:
                raise ValueError(
                    f"counts must be whole numbers, however: column {name!r} holds {held}. Leave "
                    "it out (on the command line: --label, --id or --drop), or take the table as "
                    "it is with kind='table' (--kind table)"
                )
        weight = weights if weights is None or index is None else weights[index]
        depth = Depth.fit(source, index, weight)
        chosen = np.arange(len(names))
        if 0 < n_top_columns < len(names):
            chosen = most_variable(source, index, n_top_columns)
        others = np.delete(np.arange(len(names)), chosen)
        encoder = cls(
            [Column(str(names[at]), int(at), "number", ("value",)) for at in chosen],
            {str(names[at]): "less variable" for at in others},
            depth=depth,
        )
        moments = Moments.of(
            lambda: (encoder.raw(part, at) for at, part in blocks(source, index)), weight
        )
        varying = moments.high > moments.low
        for column in itertools.compress(encoder.columns, ~varying):
            encoder.dropped[column.name] = "constant"
        encoder.columns = list(itertools.compress(encoder.columns, varying))
        encoder._check_columns()
        own = moments.deviation[varying]
        if weight is not None:
            # One that hardly counts may hold the only count of a column, many deviations away: no
            # deviation is smaller than the smallest of as many rows that count the same.
            spread = (moments.high - moments.low)[varying]
            own = np.maximum(own, spread / np.sqrt(2 * len(weight)))
        encoder.mean = moments.mean[varying]
        encoder.scale = np.sqrt(own * np.sqrt(np.mean(np.square(own))))
        return encoder

    def _check_columns(self) -> None:
        if not self.columns:
            reasons = "; ".join(self.notes)
            raise ValueError(
                f"the table has no column to learn from: {reasons}. At least one column must hold "
                "two different values"
            )

    @property
    def texts(self) -> list[str]:
        """Columns that are text whatever else a file holds, which may look like numbers or dates.

        Categories that are numbers are left to what the file says: 3.0 and 3 are one of them.
        """
        return [
            column.name
            for column in self.columns
            if column.kind == "category" and not looks_like_numbers(column.categories)
        ]

    def transform(self, source: Source, index: Index | None = None, *, first_row: int = 0) -> Rows:
        """Numbers (rows, p) float32 and codes (rows, q) int32 of a table with the same columns.

        Parameters
        ----------
        source : Source
            The table, read in blocks.
        index : ndarray of int, optional
            The rows to encode, in this order; by default all of them.
        first_row : int
            What messages call the first of the rows.

        Raises
        ------
        TypeError
            If a column that held numbers now holds text.
        ValueError
            If a number is infinite.
        """
        n_rows = source.shape[0] if index is None else len(index)
        coded = [column for column in self.columns if column.kind == "category"]
        numbers = np.empty((n_rows, self.n_numbers), dtype=np.float32)
        depths = np.empty(n_rows if self.depth is not None else 0, dtype=np.float32)
        codes = np.empty((n_rows, len(coded)), dtype=np.int32)
        lookups = [
            {value: code for code, value in enumerate(column.categories, start=1)}
            for column in coded
        ]
        names = column_names(source)
        for first, part in blocks(source, index):
            if self.depth is None:
                raw = self.raw(part, first_row + first)
            else:
                raw, depth = self._logs(part, first_row + first)
                depths[first : first + len(raw)] = depth
            raw -= self.mean
            raw /= self.scale
            encoded = numbers[first : first + len(raw)]
            if self.depth is not None:
                encoded[:] = raw
                continue
            if self.smooth_clip:
                np.clip(raw, -LARGEST, LARGEST, out=raw)
                raw /= np.sqrt(1 + np.square(raw / self.smooth_clip))
            np.clip(raw, -FARTHEST, FARTHEST, out=encoded, casting="same_kind")
            np.copyto(encoded, 0, where=np.isnan(encoded))
            for place, (column, lookup) in enumerate(zip(coded, lookups, strict=True)):
                texts = texts_of(part, column.position, names[column.position])
                codes[first : first + len(raw), place] = [lookup.get(text, 0) for text in texts]
        depth_of_rows = None if self.depth is None else torch.from_numpy(depths)
        return Rows(torch.from_numpy(numbers), torch.from_numpy(codes), depth_of_rows)

    def thinning(self, most: float, device: torch.device) -> Thin | None:
        """The corruption that leaves counts out; None for a table of something else."""
        if self.depth is None:
            return None
        mean, scale = (
            torch.from_numpy(values).to(device, torch.float32) for values in (self.mean, self.scale)
        )
        return Thin(most, mean, scale, self.depth.target)

    def dense(self, rows: Rows) -> NDArray[np.float64]:
        """Encoded rows as one matrix: numbers beside one-hot categories (the bucket 0 too)."""
        parts = [rows.numbers.numpy().astype(np.float64)]
        for place, cardinality in enumerate(self.cardinalities):
            one_hot = np.zeros((len(rows), cardinality))
            one_hot[np.arange(len(rows)), rows.codes[:, place].numpy()] = 1
            parts.append(one_hot)
        return np.column_stack(parts)

    @property
    def layout(self) -> Layout:
        """Which column each number and code belongs to, for the views."""
        numbers: list[int] = []
        codes: list[int] = []
        noisy: list[float] = []
        for place, column in enumerate(self.columns):
            numbers += [place] * len(column.parts)
            noisy += [float(part != "missing") for part in column.parts]
            if column.kind == "category":
                codes.append(place)
        return Layout(
            len(self.columns),
            torch.tensor(numbers, dtype=torch.int64),
            torch.tensor(codes, dtype=torch.int64),
            torch.tensor(noisy),
        )

    @property
    def n_numbers(self) -> int:
        """Encoded numbers of a row, p."""
        return len(self.mean)

    @property
    def cardinalities(self) -> list[int]:
        """Codes of each categorical column, the bucket 0 counted."""
        return [len(c.categories) + 1 for c in self.columns if c.kind == "category"]

    @property
    def notes(self) -> list[str]:
        """What was left out and why, and what may be read wrongly, a sentence each."""
        found = []
        for reason in sorted(set(self.dropped.values())):
            names = [name for name, why in self.dropped.items() if why == reason]
            noun = "column" if len(names) == 1 else "columns"
            if reason == ROUNDED_TO_ONE:
                found.append(
                    f"dropped {len(names)} {noun} of different values that are the same in "
                    f"float64: {listed(names)}; subtract their least value first, or make them "
                    "text if they are names"
                )
            else:
                found.append(f"dropped {len(names)} {reason} {noun}: {listed(names)}")
        return found + self.remarks

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
        """The encoder as a JSON document and arrays."""
        document = {
            "columns": [asdict(column) for column in self.columns],
            "dropped": self.dropped,
            "depth": None if self.depth is None else self.depth.target,
            "smooth_clip": self.smooth_clip,
        }
        arrays = {"mean": self.mean, "scale": self.scale}
        if self.scores is not None:
            arrays["points"] = self.scores.points
        return document, arrays

    @classmethod
    def from_state(
        cls, document: dict[str, Any], arrays: dict[str, NDArray[np.float64]]
    ) -> TableEncoder:
        """The inverse of :meth:`state`."""
        columns = [
            Column(
                name=str(entry["name"]),
                position=int(entry["position"]),
                kind=entry["kind"],
                parts=tuple(entry["parts"]),
                categories=tuple(entry["categories"]),
            )
            for entry in document["columns"]
        ]
        scores = NormalScores(arrays["points"]) if "points" in arrays else None
        target = document.get("depth")  # models of before counts have none
        depth = None if target is None else Depth(float(target))
        return cls(
            columns,
            dict(document["dropped"]),
            arrays["mean"],
            arrays["scale"],
            scores,
            depth,
            float(document.get("smooth_clip", 0.0)),  # models of before have none
        )

    def _fit_scores(self, source: Source, index: Index | None) -> NormalScores:
        """Distribution functions of the numbers, from some twenty thousand rows at the most."""
        n_rows = source.shape[0] if index is None else len(index)
        every = -(-n_rows // 20_000)
        rows = np.arange(0, n_rows, every) if index is None else index[::every]
        numbers = [column for column in self.columns if column.kind == "number"]
        positions = [column.position for column in numbers]
        part = dense(take_rows(source, rows))
        return NormalScores.fit(numbers_of(part, positions, column_names(source), 0))

    def raw(self, source: Source, first_row: int = 0) -> NDArray[np.float64]:
        """All numbers before standardising (rows, p) float64, NaN where missing.

        ``first_row`` is what messages call the first of the rows. Of counts, the logarithms of what
        they are at the common depth.
        """
        source = dense(source)
        if self.depth is not None:
            return self._logs(source, first_row)[0]
        names = column_names(source)
        places = self._places
        numbers = numbers_of(source, places.positions, names, first_row)
        if len(places.positions) == places.width:
            return numbers
        raw = np.empty((source.shape[0], places.width))
        raw[:, places.values] = numbers
        raw[:, places.flags] = np.isnan(raw[:, places.flagged])
        if places.scored:
            assert self.scores is not None
            raw[:, places.scored] = self.scores(numbers[:, places.ranked])
        for place, column in places.others:
            parts = parts_of(source, column.position, names[column.position], column.kind)
            parts["missing"] = np.isnan(next(iter(parts.values()))).astype(np.float64)
            for offset, part in enumerate(column.parts):
                raw[:, place + offset] = parts[part]
        return raw

    @cached_property
    def _places(self) -> _Places:
        # Once for all blocks: those of a wide array have few rows, and every column counts.
        places = _Places(
            [], [], [], [], [], [], [], sum(len(column.parts) for column in self.columns)
        )
        place = 0
        for column in self.columns:
            if column.kind == "number":
                places.values.append(place)
                places.positions.append(column.position)
                if "score" in column.parts:
                    places.ranked.append(len(places.positions) - 1)
                    places.scored.append(place + column.parts.index("score"))
                if "missing" in column.parts:
                    places.flags.append(place + column.parts.index("missing"))
                    places.flagged.append(place)
            elif column.parts:
                places.others.append((place, column))
            place += len(column.parts)
        return places

    def _logs(
        self, source: Block, first_row: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        assert self.depth is not None
        counts = checked_counts(source, first_row)
        kept = [column.position for column in self.columns]
        return self.depth(counts, None if len(kept) == counts.shape[1] else kept)


def _kinds(source: Source, names: Sequence[str], counted: Index | None) -> list[Kind | None]:
    if counted is not None:
        source = take_rows(source, counted)
    return [kind_of(source, position, name) for position, name in enumerate(names)]


def _all_parts(kind: Kind, normal_scores: bool) -> tuple[str, ...]:
    if kind == "datetime":
        return DATE_PARTS
    return ("value", "score") if normal_scores and kind == "number" else ("value",)


def _why_constant(source: Source, index: Index | None, position: int, name: str) -> str:
    """Whether a column of one number has one value, or several that float64 rounds to one."""
    found: set[str | None] = {None}
    for _, part in blocks(source, index):
        found.update(texts_of(part, position, name))
        if len(found) > 2:
            return ROUNDED_TO_ONE
    return "constant"
