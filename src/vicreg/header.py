"""Names and number of a table's columns: found by name, or checked in scikit-learn's own words."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from vicreg.counts import looks_like_counts
from vicreg.frames import listed
from vicreg.pairs import SECOND
from vicreg.sources import contents, is_annotated, read, take_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vicreg.columns import Column
    from vicreg.sources import Source

__all__ = [
    "PairedTable",
    "TableHeader",
    "check_names",
    "ignored",
    "layer_of_counts",
    "named",
    "naming",
    "places_of",
    "read_checked",
]


class TableHeader(BaseEstimator):  # type: ignore[misc]
    """Names and number of a table's columns, checked in scikit-learn's own words."""

    def give_to(self, owner: BaseEstimator) -> None:
        """Let another one remember them in place of its own."""
        owner.n_features_in_ = self.n_features_in_
        if hasattr(self, "feature_names_in_"):
            owner.feature_names_in_ = self.feature_names_in_
        elif hasattr(owner, "feature_names_in_"):
            del owner.feature_names_in_


class PairedTable(TableHeader):
    """That of the second table of a pair, which is saved on its own."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        names = getattr(self, "feature_names_in_", None)
        return {
            "feature_names": None if names is None else [str(name) for name in names],
            "n_features": self.n_features_in_,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> PairedTable:
        """The inverse of :meth:`as_dict`."""
        columns = cls()
        columns.n_features_in_ = document["n_features"]
        if document["feature_names"] is not None:
            columns.feature_names_in_ = np.asarray(document["feature_names"], dtype=object)
        return columns


def places_of(fitted: Sequence[str], given: Sequence[str]) -> list[int]:
    """Where the columns of a fit are among those of another table, by their names.

    Raises
    ------
    ValueError
        If one is missing, or a name is there more than once.

    Examples
    --------
    >>> from vicreg.header import places_of
    >>> places_of(["a", "b"], ["b", "c", "a"])
    [2, 0]
    """
    places = {name: place for place, name in enumerate(given)}
    missing = [name for name in fitted if name not in places]
    if missing:
        raise ValueError(
            f"the table must have the {len(fitted)} columns that the model was fitted on, however: "
            f"{len(missing)} missing: {listed(missing)}; it has {listed(given)}"
        )
    if len(places) < len(given):
        raise ValueError(
            "columns in another order than at the fit are found by name, so names must be unique, "
            "however: some are there more than once; rename them (adata.var_names_make_unique())"
        )
    return [places[name] for name in fitted]


def check_names(owner: BaseEstimator, fitted: Sequence[Column], source: Source) -> None:
    """Refuse a frame whose names at the places of a fit's columns are others.

    scikit-learn knows names that are text; others, such as whole numbers, are looked at here.

    Raises
    ------
    ValueError
    """
    if hasattr(owner, "feature_names_in_") or not isinstance(source, nw.DataFrame):
        return
    if all(column.name == f"x{column.position}" for column in fitted):
        return  # the fit was of an array
    names = [str(name) for name in source.columns]
    for column in fitted:
        if names[column.position] != column.name:
            raise ValueError(
                "the table must have the columns of the fit in their order, however: column "
                f"{column.position} is {names[column.position]!r}, at the fit {column.name!r}"
            )


def ignored(fitted: Sequence[str], given: Sequence[str]) -> list[str]:
    """A note on columns that a model was not fitted on, or nothing."""
    known = set(fitted)
    extra = [name for name in given if name not in known]
    if not extra:
        return []
    columns = "column" if len(extra) == 1 else "columns"
    return [f"ignored {len(extra)} {columns} that the model was not fitted on: {listed(extra)}"]


def layer_of_counts(table: Any) -> str | None:
    """Words on the first layer of an AnnData that holds counts, for one whose matrix does not."""
    if not is_annotated(table):
        return None
    for name, matrix in table.layers.items():
        if looks_like_counts(read(matrix)):
            return (
                f"X holds no counts, but layers[{name!r}] does: --layer {name}, or fit that matrix"
            )
    if table.raw is not None and looks_like_counts(read(table.raw.X)):
        return "X holds no counts, but raw.X does: --layer raw, or fit that matrix"
    return None


def named(owner: BaseEstimator, table: object, text: str) -> str:
    """A message on an AnnData's matrix, whose columns are x0, x1, ..., with its genes' names."""
    if not is_annotated(table) or text.startswith(SECOND):
        return text
    names = owner.feature_names_in_
    return re.sub(
        r"(column|[:,]) 'x(\d+)'", lambda found: f"{found[1]} {names[int(found[2])]!r}", text
    )


@contextmanager
def naming(owner: BaseEstimator, table: object) -> Iterator[None]:
    """Errors name an AnnData's genes, and a layer of counts where they are on counts."""
    try:
        yield
    except (ValueError, TypeError) as error:
        text = named(owner, table, str(error))
        if text.startswith("counts must be"):
            text = ". ".join(filter(None, (text, layer_of_counts(table))))
        if text == str(error) or type(error) not in (ValueError, TypeError):
            raise
        raise type(error)(text) from None


def read_checked(owner: BaseEstimator, X: object, *, reset: bool) -> Source:
    """A table, whose columns are remembered by its owner (``reset``) or those it remembers.

    Genes of an AnnData are found by their names, since two runs seldom have the same ones in the
    same order; of other tables scikit-learn wants the columns of the fit in their order.
    """
    table = contents(X)
    source = read(table, () if reset else getattr(owner, "feature_names_in_", ()))
    # scikit-learn's own check of names and width; of the values it knows nothing.
    native: Any = source.to_native() if isinstance(source, nw.DataFrame) else source
    if is_annotated(table):
        if reset and not table.var_names.is_unique:
            repeated = [str(name) for name in table.var_names[table.var_names.duplicated()]]
            raise ValueError(
                "names of genes must be unique, however: "
                f"{listed(list(dict.fromkeys(repeated)))} more than once; rename them "
                "(adata.var_names_make_unique())"
            )
        native = table.var.T.iloc[:0]  # a frame without rows, with the names
        fitted = None if reset else getattr(owner, "feature_names_in_", None)
        if fitted is not None and not np.array_equal(fitted, native.columns):
            places = places_of(fitted, native.columns)
            source, native = take_columns(source, places), native.iloc[:, places]
    validate_data(owner, native, reset=reset, skip_check_array=True)
    return source
