"""The command ``vicreg demo``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from vicreg.options import AsJson, Quiet
from vicreg.terminal import print_card, say

__all__ = ["demo"]


def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder to write to.")] = Path("demo"),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit two real inputs, print a score table for each, write embeddings, model and report.

    The inputs: make_blobs (100 x 100, 10 centres) and scikit-learn's digits (1797 x 64).
    """
    import numpy as np
    from sklearn.datasets import load_digits, make_blobs

    from vicreg.embedding_file import embedding_file
    from vicreg.estimator import VICReg
    from vicreg.evaluation import evaluate
    from vicreg.places import fresh_file
    from vicreg.report import render_report

    started = time.perf_counter()
    blobs, blob_labels = make_blobs(
        n_samples=100, n_features=100, centers=10, cluster_std=5, random_state=0
    )
    digits, digit_labels = load_digits(return_X_y=True)
    cards = []
    tables: list[dict[str, Any]] = []
    for title, X, y in (
        ("blobs", blobs.astype(np.float32), blob_labels),
        ("digits", digits, digit_labels),
    ):
        model = VICReg(random_state=0, verbose=not quiet)
        card = evaluate(model, X, y, title=title)
        cards.append(card)
        embedding = card.model.transform(X)
        tables.append({"table": title, "label": y, "embedding": embedding})
        if not as_json:
            print_card(card)
    out.mkdir(parents=True, exist_ok=True)
    shape = {"n_rows": len(blobs) + len(digits), "n_components": tables[0]["embedding"].shape[1]}
    with embedding_file(out / "embeddings.parquet", **shape) as write:
        for one in tables:
            n_rows = len(one["label"])
            names = [one["table"]] * n_rows
            write(
                {"table": names, "row": np.arange(n_rows), "label": one["label"]},
                one["embedding"],
            )
    cards[-1].model.save(out / "model")
    with fresh_file(out / "report.html") as fresh:
        page = render_report(cards, title="VICReg demo")
        fresh.write_text(page, encoding="utf-8")
    seconds = time.perf_counter() - started
    if as_json:
        written = [str(out / name) for name in ("embeddings.parquet", "model", "report.html")]
        told = {card.title: json.loads(card.to_json()) for card in cards}
        print(json.dumps({"cards": told, "written": written, "seconds": round(seconds, 1)}))
    else:
        say(
            f"wrote {out}/embeddings.parquet, {out}/model/ (digits) and {out}/report.html "
            f"in {seconds:.0f} s"
        )
