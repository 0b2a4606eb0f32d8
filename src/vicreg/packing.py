"""What a page carries of a view: coordinates of 16 bits, numbers of 32, text once.

Dates, and whole numbers that 32 bits would change, have 64.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from vicreg.view import CLUSTERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicreg.shown_columns import ShownColumn
    from vicreg.view import View

__all__ = ["pack_view", "safe_json"]

#: The code of a point that a map does not place.
ABSENT = 65_535
#: Different texts of a column, the length of one, and of a row's id.
MOST_TEXTS = 2000
LONGEST = 80
SPACES = {"raw": "raw table", "pca": "PCA", "vicreg": "embedding"}


def pack_view(view: View, labels: NDArray[np.generic] | None, most_bytes: int) -> dict[str, Any]:
    """A view, ready for :func:`safe_json`, in about ``most_bytes`` at the most.

    Columns that find no room are left out, the last ones first; ``left_out`` counts them.
    """
    silhouettes = {} if labels is None else view.silhouettes(labels)
    spaces = []
    for key, maps in view.maps.items():
        near = view.neighbours[key]
        spaces.append(
            {
                "key": key,
                "name": SPACES[key],
                "maps": {kind: _base64(_quantised(points)) for kind, points in maps.items()},
                "neighbours": _base64(near.astype("<u2")),
                "count": near.shape[1],
                "silhouettes": silhouettes.get(key, {}),
            }
        )
    packed: dict[str, Any] = {
        "n": len(view.rows),
        "rows": view.rows.tolist(),
        "ids": [_cut(name) for name in view.ids],
        "spaces": spaces,
        "kinds": list(next(iter(view.maps.values()), {})),
        "colours": [
            _colour(name, values) | ({"none": "not scored"} if name == CLUSTERS else {})
            for name, values in view.colours.items()
        ],
        "spectra": view.spectra,
        "deviations": view.deviations,
    }
    size = len(safe_json(packed))
    left_out = 0
    for column in view.columns:
        added = _column(column)
        size += len(safe_json(added))
        if size > most_bytes:
            left_out += 1
            continue
        packed["colours"].append(added)
    packed["left_out"] = left_out
    return packed


def safe_json(value: Any) -> str:
    """JSON that can stand inside a script element: no ``<``, nothing outside ASCII.

    Examples
    --------
    >>> from vicreg.packing import safe_json
    >>> print(safe_json("</script>"))
    "\\u003c/script\\u003e"
    """
    text = json.dumps(_finite(value), separators=(",", ":"), ensure_ascii=True)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _quantised(points: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Both coordinates in the same unit, so that a map keeps its proportions."""
    points = np.asarray(points, dtype=np.float64)
    there = np.isfinite(points).all(axis=1)
    low = points[there].min(axis=0)
    span = float((points[there].max(axis=0) - low).max()) or 1.0
    codes = np.full(points.shape, ABSENT, dtype="<u2")
    codes[there] = np.rint((points[there] - low) / span * (ABSENT - 1)).astype("<u2")
    return codes


def _column(column: ShownColumn) -> dict[str, Any]:
    if isinstance(column.values, list):
        texts = np.array(["" if text is None else text for text in column.values], dtype=object)
        return _colour(column.name, texts.astype(str))
    if column.is_date:  # of seconds since 1970, 32 bits hold no more than every second minute
        return _number(column.name, column.values, wide=True) | {"date": True}
    return _colour(column.name, column.values)


def _colour(name: str, values: NDArray[Any]) -> dict[str, Any]:
    if values.dtype.kind == "f":
        # Where 32 bits hold no fractions, the page would show what they hold as whole numbers, and
        # no digit of a name must change; what is beyond them would be missing.
        sizes = np.abs(values[np.isfinite(values) & (values != 0)])
        wide = bool(((sizes >= 2**23) | (sizes < np.finfo(np.float32).tiny)).any())
        return _number(name, values, wide=wide)
    names, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(names) > MOST_TEXTS:
        kept = np.sort(np.argsort(-counts, kind="stable")[: MOST_TEXTS - 1])
        place = np.full(len(names), len(kept))
        place[kept] = np.arange(len(kept))
        codes, names = place[codes], np.append(names[kept], "(one of many others)")
    return {
        "name": _cut(name),
        "kind": "classes",
        "names": [_cut(str(one)) for one in names],
        "codes": _base64(codes.astype("<u2")),
    }


def _number(name: str, values: NDArray[Any], *, wide: bool) -> dict[str, Any]:
    packed = _base64(values.astype("<f8" if wide else "<f4"))
    return {"name": _cut(name), "kind": "number", "wide": wide, "values": packed}


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
