"""Options that several commands have, and what a fit's say."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from vicreg.config import Config, preset

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AsJson",
    "Data",
    "Delimiter",
    "Drop",
    "FitOptions",
    "Groups",
    "Id",
    "Label",
    "Layer",
    "Paired",
    "Preset",
    "Quiet",
    "TableOptions",
    "Weight",
    "converted",
    "given",
    "settings",
]


def converted(kind: Any, tokens: Sequence[cyclopts.Token]) -> Any:
    """What an option's words stand for, where whole numbers are whole: cyclopts rounds 2.9 to 3.

    Raises
    ------
    ValueError
        If a whole number is asked for, and another one is given.
    """
    found = cyclopts.convert(kind, tokens)
    values = found if isinstance(found, tuple | list) else [found]
    for token, value in zip(tokens, values, strict=False):
        if isinstance(value, int) and not isinstance(value, bool) and not _is_whole(token.value):
            raise ValueError(f"{token.keyword} must be a whole number, however: {token.value}")
    return found


def _is_whole(text: str) -> bool:
    try:
        return float(text).is_integer()
    except ValueError:  # 0x10, say
        return True


def _documented(field_name: str) -> str:
    """A field's words in the docstring of the configuration."""
    lines = [line.strip() for line in (Config.__doc__ or "").splitlines()]
    words: list[str] = []
    for line in lines[lines.index(field_name) + 1 :]:
        if not line.endswith(".") and not line.count(" "):
            break
        words.append(line)
        if line.endswith("."):
            break
    return " ".join(words).replace(":mod:", "")  # a role of the documentation's, not the terminal's


def _fit_options() -> type[Any]:
    """The configuration's fields as options that know whether they were given."""
    hints = typing.get_type_hints(Config)
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(Config):
        default = field.default
        told = " ".join(map(str, default)) if isinstance(default, tuple) else default
        parameter = Parameter(
            help=f"{_documented(field.name)} [default: {told}]",
            show_default=False,
            negative_iterable=(),
            consume_multiple=isinstance(default, tuple) or None,
        )
        fields.append(
            (field.name, Annotated[hints[field.name] | None, parameter], dataclasses.field())
        )
        fields[-1][2].default = None
    options = dataclasses.make_dataclass("FitOptions", fields, frozen=True, kw_only=True)
    options.__module__ = __name__
    options.__doc__ = ""
    return options


FitOptions = _fit_options()
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative=(), help="No progress bar.")]
AsJson = Annotated[
    bool, Parameter(name="--json", negative=(), help="Print one machine-readable line.")
]
Data = Annotated[
    Path, Parameter(help="CSV file (also compressed: .gz, .bz2, .zst), Parquet or h5ad file.")
]
Label = Annotated[
    str | None, Parameter(help="Column that holds labels; never a feature of the model.")
]
Preset = Annotated[
    str, Parameter(name="--preset", help="default, paper or seed; single options override it.")
]
Id = Annotated[str | None, Parameter(help="Column that names the rows; never a feature.")]
Groups = Annotated[
    str | None,
    Parameter(help="Column of groups: rows of one are views of each other. Never a feature."),
]
Weight = Annotated[
    str | None, Parameter(help="Column of weights: how often a row is drawn. Never a feature.")
]
Delimiter = Annotated[
    str | None,
    Parameter(
        help="Character that sets fields of CSV files apart, or the word tab. No model remembers "
        "it. [default: a comma in .csv, a tab in .tsv and .txt]"
    ),
]
Drop = Annotated[
    list[str] | None,
    Parameter(
        help="Columns, or genes, that are no features. A model remembers them.",
        negative_iterable=(),
        consume_multiple=True,
    ),
]
Layer = Annotated[
    str | None,
    Parameter(
        help="Layer of DATA, an h5ad file, that is taken for its matrix; raw for .raw, X for X. "
        "A model remembers it."
    ),
]
Paired = Annotated[
    Path | None, Parameter(help="File of a second table of the same rows, in the same order.")
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How the file of a fit is read, and what of it is no feature."""

    label: Label = None
    id: Id = None
    groups: Groups = None
    weight: Weight = None
    drop: Drop = None
    layer: Layer = None
    delimiter: Delimiter = None

    @property
    def are_given(self) -> bool:
        """Whether any was on the command line."""
        return self != TableOptions()

    @property
    def aside(self) -> dict[str, Any]:
        """What is set aside, by its use, as a model remembers it."""
        uses = dataclasses.asdict(self)
        del uses["delimiter"]
        return {**uses, "drop": self.drop or []}


def given(options: Any) -> dict[str, Any]:
    """The configuration's options that were on the command line."""
    return {name: value for name, value in dataclasses.asdict(options).items() if value is not None}


def settings(preset_name: str, options: Any) -> dict[str, Any]:
    """Arguments of a fit: a preset's, and over them those that were on the command line."""
    return {**preset(preset_name), **given(options)}
