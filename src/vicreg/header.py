"""Names and number of a table's columns, checked in scikit-learn's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from vicreg.sources import contents, is_annotated, read

if TYPE_CHECKING:
    from vicreg.sources import Source

__all__ = ["PairedTable", "TableHeader", "read_checked"]


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


def read_checked(owner: BaseEstimator, X: object, *, reset: bool) -> Source:
    """A table, whose columns are remembered by its owner (``reset``) or those it remembers."""
    table = contents(X)
    source = read(table)
    # scikit-learn's own check of names and width; of the values it knows nothing.
    native: Any = source.to_native() if isinstance(source, nw.DataFrame) else source
    if is_annotated(table):
        native = table.var.T.iloc[:0]  # a frame without rows, with the names
    validate_data(owner, native, reset=reset, skip_check_array=True)
    return source
