"""How far columns move an embedding, against the closed form of a linear map."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from vicreg import VICReg
from vicreg.importance import MOST_COLUMNS, Importance, column_importance
from vicreg.inference import embed
from vicreg.networks import Encoder, JointEmbedding, Rows
from vicreg.sources import read

N_ROWS = 400


def linear(table: object) -> VICReg:
    """An encoder of one linear layer."""
    model = VICReg(4, hidden=(), projector=(8,), steps=3, skip=False, random_state=0, n_threads=1)
    return model.fit(table)


def importance_of(model: VICReg, table: object) -> dict[str, Importance]:
    embedder = model.embedder_
    found = column_importance(embedder, embedder.table.transform(read(table)))
    assert [one.moved for one in found] == sorted((one.moved for one in found), reverse=True)
    return {one.name: one for one in found}


def of_numbers() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(random.normal(size=(N_ROWS, 5)), columns=list("abcde"))


def test_of_independent_columns_each_moves_by_its_share_of_the_variance() -> None:
    """|W_j|² var_j, of the sum of all: W from the embedding of unit vectors, not from the network.

    A shuffled value differs from the one it replaces by twice the variance in the mean square, and
    two rows by twice the whole variance.
    """
    table = of_numbers()
    model = linear(table)
    with torch.no_grad():
        units = Rows(
            torch.cat([torch.zeros(1, 5), torch.eye(5)]), torch.zeros(6, 0, dtype=torch.int32)
        )
        at = model.embedder_.network.embed(units).double().numpy()
    shares = np.square(at[1:] - at[0]).sum(axis=1)
    shares /= shares.sum()
    for name, share in zip(table, shares, strict=True):
        one = importance_of(model, table)[name]
        assert one.moved == pytest.approx(share, abs=5 * one.error + 0.02)
        assert 0 < one.error < one.moved


def test_a_column_that_alone_makes_the_embedding_is_the_only_one() -> None:
    table = of_numbers().assign(word=["x", "y"] * (N_ROWS // 2))
    model = linear(table)
    (encoder,) = model.embedder_.network.encoders
    assert isinstance(encoder, Encoder)
    with torch.no_grad():
        for weight in encoder.parameters():
            if weight.ndim == 2 and weight.shape[1] == 5:
                weight[:, [0, 1, 3, 4]] = 0
            elif weight.ndim == 2 and weight.shape[0] == 3:
                weight[:] = weight[0]
    found = importance_of(model, table)
    first, *others = found.values()
    assert first.name == "c"
    # A shuffled row is as far from where it was as two rows are from each other.
    assert first.moved == pytest.approx(1, abs=5 * first.error)
    assert {one.name for one in others} == {"a", "b", "d", "e", "word"}
    assert all(one.moved == one.error == 0 for one in others)


def test_a_column_that_is_the_same_in_all_rows_moves_nothing() -> None:
    table = of_numbers().assign(word=["x", "y"] * (N_ROWS // 2))
    model = linear(table)
    found = importance_of(model, table.assign(b=7.0, word="x"))
    assert found["b"].moved == found["word"].moved == 0
    assert found["a"].moved > 0


def test_a_constant_column_is_not_in_the_table() -> None:
    table = of_numbers().assign(b=7.0)
    assert sorted(importance_of(linear(table), table)) == list("acde")


def test_a_number_goes_with_its_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffled apart, they would make rows that are none."""
    random = np.random.default_rng(0)
    gaps = np.where(random.random(N_ROWS) < 0.5, np.nan, 1e3 + random.normal(size=N_ROWS))
    table = pd.DataFrame({"gaps": gaps, "word": random.choice(["x", "y", "z"], N_ROWS)})
    model = linear(table)
    seen: list[Rows] = []

    def watched(network: JointEmbedding, rows: Rows) -> torch.Tensor:
        seen.append(rows)
        return embed(network, rows)

    monkeypatch.setattr("vicreg.importance.embed", watched)
    found = importance_of(model, table)
    assert len(found) == 2
    encoded = model.embedder_.table.transform(read(table))
    pairs = {tuple(row) for row in encoded.numbers.tolist()}
    assert encoded.numbers.shape[1] == 2
    assert len(seen) > 1
    for rows in seen:
        assert {tuple(row) for row in rows.numbers.tolist()} <= pairs


def test_of_one_row_or_of_too_many_columns_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    table = of_numbers()
    model = linear(table)
    embedder = model.embedder_
    assert column_importance(embedder, embedder.table.transform(read(table[:1]))) == []
    monkeypatch.setattr("vicreg.importance.MOST_COLUMNS", 4)
    assert MOST_COLUMNS > 4
    assert column_importance(embedder, embedder.table.transform(read(table))) == []


def test_an_embedding_that_is_constant_is_moved_by_nothing() -> None:
    table = of_numbers()
    model = linear(table)
    with torch.no_grad():
        for weight in model.embedder_.network.parameters():
            weight.zero_()
    assert {one.moved for one in importance_of(model, table).values()} == {0.0}
