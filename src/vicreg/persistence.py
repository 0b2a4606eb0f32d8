"""A fitted model as a folder: ``model.json`` and ``weights.safetensors``. Nothing is executed.

Beside them stands ``README.md`` for people; it is never read.

The JSON document names the weights' SHA-256 and its own, so an altered file is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import safetensors
import safetensors.torch
import torch

from vicreg import __version__
from vicreg.columns import Kind
from vicreg.config import MOST_THREADS, config_from, number
from vicreg.embedder import Embedder
from vicreg.history import History
from vicreg.modelcard import model_card
from vicreg.places import check_parent, patiently, place_of, put_in_place
from vicreg.preparation import build_network
from vicreg.table import TableEncoder

__all__ = ["Artifact", "check_free", "read_artifact", "write_artifact"]

FORMAT = 1
DOCUMENT = "model.json"
WEIGHTS = "weights.safetensors"
CARD = "README.md"
#: What a save replaces; all else in a model folder is somebody's.
OWN = (DOCUMENT, WEIGHTS, CARD)
#: Keys of every document that this package wrote, of any format.
MARKS = {"format", "vicreg", "sha256"}


@dataclass
class Artifact:
    """What a model folder holds: the fitted embedder, and what its estimator was told and saw."""

    embedder: Embedder
    params: dict[str, Any]
    feature_names: list[str] | None
    n_features: int
    n_rows: int
    #: Columns that were set aside at fit, by what they were for: label, id, groups, weight, and a
    #: list of those to drop, which models of before it lack; and the layer of an h5ad file that the
    #: fit was of.
    aside: dict[str, Any] = field(default_factory=dict)
    #: Names and number of the second table's columns, where pairs of rows were fitted.
    paired: dict[str, Any] | None = None
    #: Of the table of the fit, see :func:`vicreg.fingerprint.fingerprint`; models of before it have
    #: none.
    fitted_on: dict[str, Any] | None = None
    #: A scorecard's scores for the card, if there is one; not read back.
    evaluation: dict[str, Any] | None = None


def check_free(folder: Path) -> None:
    """Refuse a place where no model can be written: anything but a model or an empty folder.

    A model folder is one whose ``model.json`` this package wrote, also if it was altered since. Of
    a link the place is what it points to.

    Raises
    ------
    FileExistsError
        If something else is there.
    OSError
        If the folder cannot be replaced, or its parent cannot be written to.
    """
    place = place_of(folder)
    check_parent(place)
    # Others may save there, too, and a folder that is gone for a moment is no mount.
    if place.is_dir() and (place == Path.cwd() or os.path.ismount(place)):
        raise OSError(
            f"{folder} cannot be replaced: it is the current folder or a mount; "
            "choose a folder inside it"
        )
    patiently(lambda: _check_replaceable(folder, place))


def write_artifact(artifact: Artifact, folder: Path) -> None:
    """Write a model folder, whole or not at all; an earlier model there is replaced.

    Other files in the folder stay there; a link is followed. Several may save to one folder at the
    same time: each model is whole, and the last one stays.

    Raises
    ------
    FileExistsError
        If the folder exists and is not a model.
    """
    check_free(folder)
    folder = place_of(folder)
    embedder = artifact.embedder
    table_document, arrays = embedder.table.state()
    tensors = {f"table.{name}": torch.from_numpy(array) for name, array in arrays.items()}
    paired = artifact.paired
    if embedder.paired is not None and paired is not None:
        paired_document, arrays = embedder.paired.state()
        paired = {**paired, "table": paired_document}
        tensors |= {f"paired.{name}": torch.from_numpy(array) for name, array in arrays.items()}
    for name, tensor in embedder.network.state_dict().items():
        tensors[f"network.{name}"] = tensor.detach().cpu().contiguous()
    weights = safetensors.torch.save(tensors)
    document = {
        "format": FORMAT,
        "vicreg": __version__,
        "params": artifact.params,
        "config": embedder.config.as_dict(),
        "table": table_document,
        "history": embedder.history.as_dict(),
        "notes": embedder.notes,
        "n_threads": embedder.n_threads,
        "precision": embedder.precision,
        "feature_names": artifact.feature_names,
        "n_features": artifact.n_features,
        "n_rows": artifact.n_rows,
        "fitted_on": artifact.fitted_on,
        "aside": artifact.aside,
        "paired": paired,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    document["sha256"] = _digest(document)

    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (fresh / WEIGHTS).write_bytes(weights)
        (fresh / DOCUMENT).write_text(json.dumps(document, indent=1), encoding="utf-8")
        card = model_card(document, artifact.evaluation)
        (fresh / CARD).write_text(card, encoding="utf-8", errors="backslashreplace")
        fresh.chmod(0o755)
        put_in_place(fresh, folder, lambda earlier: OWN if _is_model(earlier) else ())
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def read_artifact(folder: Path) -> Artifact:
    """Read a model folder.

    While a model is saved to the folder, one of the two is read, the earlier or the new one.

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files is missing.
    ValueError
        If a file was altered, is not what its name says, or comes from a version that wrote
        something else.
    """
    document, weights = patiently(lambda: _read_files(folder))
    try:
        return _artifact(document, safetensors.torch.load(weights))
    except (
        *(KeyError, TypeError, ValueError, AttributeError, RuntimeError),
        safetensors.SafetensorError,
    ) as error:
        raise ValueError(
            f"{folder} was written by vicreg {document.get('vicreg')}, and this version, "
            f"{__version__}, cannot read it ({type(error).__name__}: {error}); load it with that "
            "one"
        ) from error


def _read_files(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The document and the weights of one model."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no model folder at {folder}")
    for name in (DOCUMENT, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is not a whole model: {name} is missing")
    document = _read_document(folder / DOCUMENT)
    weights = (folder / WEIGHTS).read_bytes()
    if hashlib.sha256(weights).hexdigest() != document.get("weights_sha256"):
        raise ValueError(
            f"{folder / WEIGHTS} was altered after it was saved (checksum); save the model again"
        )
    return document, weights


def _artifact(document: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Artifact:
    _check_document(document)
    broken = [name for name, one in tensors.items() if not one.isfinite().all()]
    if broken:
        raise ValueError(f"{broken[0]} holds numbers that are not finite")
    table = TableEncoder.from_state(document["table"], _arrays(tensors, "table."))
    paired = document.get("paired")  # models of before pairs have none
    second = None
    if paired is not None:
        second = TableEncoder.from_state(paired.pop("table"), _arrays(tensors, "paired."))
    config = config_from(document["config"])
    number(1, MOST_THREADS, whole=True)("n_threads", document["n_threads"])
    _check_columns(table, document["n_features"])
    if paired is not None and second is not None:
        _check_columns(second, paired["n_features"])
    params = dict(document["params"])
    network = build_network(table, config, seed=0, paired=second)
    network.load_state_dict(
        {
            name.removeprefix("network."): tensor
            for name, tensor in tensors.items()
            if name.startswith("network.")
        }
    )
    network.eval()
    embedder = Embedder(
        config,
        table,
        network,
        History.from_dict(document["history"]),
        document["notes"],
        document["n_threads"],
        document["precision"],
        second,
    )
    return Artifact(
        embedder,
        params,
        document["feature_names"],
        document["n_features"],
        document["n_rows"],
        document["aside"],
        paired,
        document.get("fitted_on"),
    )


def _check_document(document: dict[str, Any]) -> None:
    """Refuse what would be noticed late, in other words; a checksum is no proof of who wrote it."""
    names, aside = document["feature_names"], document["aside"]
    for name in ("n_features", "n_rows"):
        number(1, whole=True)(name, document[name])
    if not _is_texts(document["notes"]):
        raise TypeError(f"notes must be a list of texts, however: {document['notes']!r:.80}")
    if names is not None and not (_is_texts(names) and len(names) == document["n_features"]):
        raise ValueError(f"feature_names must be a text for each feature, however: {names!r:.80}")
    if not isinstance(aside, dict) or not all(
        one is None or isinstance(one, str) or _is_texts(one) for one in aside.values()
    ):
        raise TypeError(f"aside must be names of columns by their use, however: {aside!r:.80}")


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _check_columns(table: TableEncoder, n_features: int) -> None:
    n_numbers = sum(len(column.parts) for column in table.columns)
    for name, sizes in (("mean", table.mean), ("scale", table.scale)):
        if sizes.shape != (n_numbers,):
            raise ValueError(f"{name} must hold {n_numbers} numbers, however: shape {sizes.shape}")
    if not (table.scale > 0).all():
        raise ValueError("scale must be above 0")
    for column in table.columns:
        if column.kind not in get_args(Kind) or not 0 <= column.position < n_features:
            raise ValueError(f"no column of {n_features} is {column.name!r}, {column.kind!r}")


def _arrays(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): tensor.numpy()
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _check_replaceable(folder: Path, place: Path) -> None:
    if not place.exists() or _is_model(place):
        return
    if not place.is_dir() or any(place.iterdir()):
        raise FileExistsError(
            f"{folder} exists and is not a model folder, one with a {DOCUMENT} that vicreg wrote; "
            "choose another path"
        )


def _is_model(folder: Path) -> bool:
    """Whether a folder holds a document of this package's.

    Its checksum is not looked at: who is told that a model was altered should save it again.
    """
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.keys() >= MARKS


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict) or "format" not in document or "sha256" not in document:
        raise ValueError(f"{path} is not a vicreg model")
    if document["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {document['format']!r}, this version reads format {FORMAT}: "
            f"install the version that wrote it, vicreg {document.get('vicreg')}"
        )
    stated = document.pop("sha256")
    if _digest(document) != stated:
        raise ValueError(f"{path} was altered after it was saved (checksum); save the model again")
    return document


def _digest(document: dict[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
