import numpy as np
import pytest
import torch
from torch import Tensor

from vicreg import VICReg, inference
from vicreg.inference import BLOCK, COMPARED, WITNESSES, Inference, embed
from vicreg.networks import Encoder, JointEmbedding, Rows, projector


@pytest.fixture(autouse=True)
def _untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_found", {})


class Stumbling(JointEmbedding):
    """Rounds the last rows of a block differently, as a library may; counts what it is asked."""

    def __init__(self, last: int) -> None:
        encoder = Encoder(5, [3], hidden=[16], n_components=16)
        super().__init__([encoder], [projector(16, [])])
        self.last = last
        self.asked: list[torch.dtype] = []

    def embed(self, rows: Rows) -> Tensor:
        self.asked.append(rows.numbers.dtype)
        embedding = super().embed(rows)
        if embedding.dtype == torch.float32 and self.last:
            embedding[-self.last :] *= 1 + 2**-23
        return embedding


def rows(count: int) -> Rows:
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(3, (count, 1), generator=generator, dtype=torch.int32)
    return Rows(torch.randn(count, 5, generator=generator), codes)


def test_where_places_of_a_block_are_not_alike_products_are_done_in_float64() -> None:
    some = rows(BLOCK + 7)
    network = Stumbling(last=3)
    found = embed(network, some)
    assert network.asked == [torch.float32]  # the trial; a copy does the rest
    assert found.dtype == torch.float32
    exact = network.double().embed(Rows(some.numbers.double(), some.codes))
    assert torch.equal(found, exact.float())


def test_shapes_are_tried_once_for_a_number_of_threads() -> None:
    network, alike = Stumbling(last=0), Stumbling(last=0)
    trial = COMPARED // (WITNESSES * 16)  # blocks, of 16 components
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        embed(network, rows(3))
        assert network.asked == [torch.float32] * (trial + 1)  # the trial and the one block
        embed(network, rows(BLOCK + 1))
        assert network.asked == [torch.float32] * (trial + 3)
        embed(alike, rows(3))
        assert alike.asked == [torch.float32]
        torch.set_num_threads(2)
        embed(network, rows(1))
        assert network.asked == [torch.float32] * (2 * trial + 4)
    finally:
        torch.set_num_threads(before)


def test_few_components_are_alike_in_all_places_too() -> None:
    """Few of them show rounding in few rows, so a short trial would not see it."""
    random = np.random.default_rng(0)
    Y, order = random.normal(size=(1500, 6)), random.permutation(1500)
    for seed in range(4):
        model = VICReg(3, hidden=(7,), projector=(8,), steps=4, random_state=seed, n_threads=1)
        found = model.fit(Y[:120]).transform(Y)
        assert np.array_equal(model.transform(Y[order]), found[order])


def test_no_rows_behind_the_last_one_get_into_an_embedding() -> None:
    torch.manual_seed(0)
    network = Stumbling(last=0).double()
    some = rows(BLOCK + 200)
    some = Rows(some.numbers.double(), some.codes)
    expected = network.eval().folded().embed(some).float()
    assert torch.equal(embed(network, some), expected)
    assert torch.equal(embed(network, some.take(slice(0, 1))), expected[:1])


def test_embeddings_go_where_they_are_asked_to() -> None:
    some, network = rows(BLOCK + 5), Stumbling(last=0)
    whole = torch.full((len(some) + 2, 16), torch.nan)
    Inference(network)(some, out=whole[1:-1])
    assert torch.equal(whole[1:-1], embed(network, some))
    assert whole[[0, -1]].isnan().all()
