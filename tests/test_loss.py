"""The loss against golden values, closed forms, finite differences and invariances."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vicreg import loss
from vicreg.loss import (
    MOST_TOGETHER,
    LossWeights,
    VICRegLoss,
    VICRegTerms,
    _closed_form,
    vicreg_loss,
)

GOLDEN = np.load(Path(__file__).parent / "data" / "vicreg_loss.npz")
CASES = sorted({name.split("/")[0] for name in GOLDEN.files})
DEFAULT = LossWeights(25.0, 25.0, 1.0, 1.0, 1e-4)
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


def golden(case: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    z1, z2 = (torch.tensor(GOLDEN[f"{case}/z{branch}"], dtype=dtype) for branch in (1, 2))
    return z1, z2


def assert_near(actual: Any, wanted: Any, tolerance: float) -> None:
    """Relative to the largest entry, with a floor of 1e-6 under that entry."""
    wanted = np.asarray(wanted)
    scale = max(float(np.abs(wanted).max()), 1e-6)
    assert float(np.abs(np.asarray(actual, dtype=np.float64) - wanted).max()) <= tolerance * scale


def two(rows: int, dims: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, rows, dims, generator=generator, dtype=dtype) * 0.7
    return [z[0].clone(), z[1].clone()]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("gram", [True, False], ids=["gram", "covariance"])
@pytest.mark.parametrize("most", [0, MOST_TOGETHER], ids=["one by one", "together"])
def test_both_sides_equal_the_golden_values(
    case: str, dtype: torch.dtype, gram: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "MOST_TOGETHER", most)
    terms, gradient = _closed_form(*golden(case, dtype), DEFAULT, with_gradient=True, gram=gram)
    assert gradient is not None
    tolerance = TOLERANCE[dtype]
    assert_near([float(term) for term in terms], GOLDEN[f"{case}/terms"], tolerance)
    total = sum(weight * float(term) for weight, term in zip(DEFAULT[:3], terms, strict=True))
    assert_near([total], [GOLDEN[f"{case}/loss"]], tolerance)
    for branch in (0, 1):
        assert_near(gradient[branch].numpy(), GOLDEN[f"{case}/grad{branch + 1}"], tolerance)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_public_function_equals_the_golden_values(case: str, dtype: torch.dtype) -> None:
    z1, z2 = (z.requires_grad_() for z in golden(case, dtype))
    terms = vicreg_loss(z1, z2)
    terms.total.backward()  # type: ignore[no-untyped-call]
    assert z1.grad is not None
    assert z2.grad is not None
    assert_near([terms.total.item()], [GOLDEN[f"{case}/loss"]], TOLERANCE[dtype])
    assert_near(z1.grad.numpy(), GOLDEN[f"{case}/grad1"], TOLERANCE[dtype])
    assert_near(z2.grad.numpy(), GOLDEN[f"{case}/grad2"], TOLERANCE[dtype])


@pytest.mark.parametrize(("rows", "dims"), [(7, 3), (4, 9), (5, 5), (2, 3), (6, 1)])
@pytest.mark.parametrize("weights", [{}, {"lam": 3.0, "mu": 0.5, "nu": 7.0, "gamma": 2.0}])
def test_gradient_equals_finite_differences(
    rows: int, dims: int, weights: dict[str, float]
) -> None:
    z1, z2 = (z.requires_grad_() for z in two(rows, dims))
    assert torch.autograd.gradcheck(lambda a, b: vicreg_loss(a, b, **weights).total, (z1, z2))


@pytest.mark.parametrize("name", ["invariance", "variance", "covariance"])
@pytest.mark.parametrize(("rows", "dims"), [(7, 3), (4, 9)])
def test_each_named_term_has_its_own_gradient(name: str, rows: int, dims: int) -> None:
    z1, z2 = (z.requires_grad_() for z in two(rows, dims))
    assert torch.autograd.gradcheck(lambda a, b: getattr(vicreg_loss(a, b), name), (z1, z2))


def test_terms_weighed_anew_give_the_sum_of_their_gradients() -> None:
    z1, z2 = (z.requires_grad_() for z in two(8, 4))
    terms = vicreg_loss(z1, z2, lam=2.0, mu=3.0, nu=4.0)
    mixed = 0.5 * terms.total + 5 * terms.variance + terms.invariance
    (actual,) = torch.autograd.grad(mixed, z1)
    (wanted,) = torch.autograd.grad(vicreg_loss(z1, z2, lam=2.0, mu=6.5, nu=2.0).total, z1)
    torch.testing.assert_close(actual, wanted)


def test_total_is_the_weighted_sum_of_the_terms() -> None:
    terms = vicreg_loss(*two(9, 4), lam=2.0, mu=3.0, nu=5.0)
    wanted = 2 * terms.invariance + 3 * terms.variance + 5 * terms.covariance
    assert terms.total.item() == pytest.approx(wanted.item(), rel=1e-12)


def test_hand_computed_case() -> None:
    # Columns (0, 2) and (1, -1): variances 2 and 2, covariance -2; the other branch is shifted
    # by 1 in its first column, which only the invariance sees: (1 + 1 + 0 + 0) / 4.
    z1 = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
    z2 = z1 + torch.tensor([1.0, 0.0])
    terms = vicreg_loss(z1, z2, gamma=2.0, eps=2.0)
    assert terms.invariance.item() == pytest.approx(0.5)
    assert terms.variance.item() == pytest.approx(0.0)  # sqrt(2 + 2) is the target itself
    assert terms.covariance.item() == pytest.approx(2 * (4 + 4) / 2)


def test_constant_rows_cost_the_whole_target() -> None:
    z = torch.zeros(6, 3)
    terms = vicreg_loss(z, z, gamma=1.0, eps=1e-4)
    assert terms.variance.item() == pytest.approx(1 - math.sqrt(1e-4))
    assert terms.covariance.item() == 0


@pytest.mark.parametrize(("rows", "dims"), [(12, 5), (5, 12)])
def test_order_of_rows_and_branches_does_not_matter(rows: int, dims: int) -> None:
    z1, z2 = two(rows, dims)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(1))
    wanted = torch.stack(vicreg_loss(z1, z2))
    torch.testing.assert_close(torch.stack(vicreg_loss(z1[order], z2[order])), wanted)
    torch.testing.assert_close(torch.stack(vicreg_loss(z2, z1)), wanted)


@pytest.mark.parametrize(("rows", "dims"), [(12, 5), (5, 12)])
def test_shifting_columns_changes_the_invariance_alone(rows: int, dims: int) -> None:
    z1, z2 = two(rows, dims)
    before, after = vicreg_loss(z1, z2), vicreg_loss(z1 + 3, z2)
    assert after.variance.item() == pytest.approx(before.variance.item(), rel=1e-9)
    assert after.covariance.item() == pytest.approx(before.covariance.item(), rel=1e-9)
    assert after.invariance.item() > before.invariance.item() + 1


def test_rotation_keeps_all_covariance_and_variance_together() -> None:
    # |C|^2 in the Frobenius norm does not turn with the axes.
    z, _ = two(30, 4)
    q, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(2)).double())

    def frobenius(points: Tensor) -> float:
        off_diagonal = vicreg_loss(points, points).covariance.item() * 4 / 2
        return float(off_diagonal + points.var(dim=0).square().sum())

    assert frobenius(z @ q) == pytest.approx(frobenius(z), rel=1e-9)


@settings(max_examples=40)
@given(
    rows=st.integers(2, 12),
    dims=st.integers(1, 12),
    seed=st.integers(0, 10_000),
    scale=st.floats(0.01, 100),
)
def test_gram_side_equals_covariance_side(rows: int, dims: int, seed: int, scale: float) -> None:
    z1, z2 = (z * scale for z in two(rows, dims, seed))
    sides = [_closed_form(z1, z2, DEFAULT, with_gradient=True, gram=gram) for gram in (True, False)]
    (terms, gradient), (other_terms, other_gradient) = sides
    assert gradient is not None
    assert other_gradient is not None
    largest = max(float(gradient[0].abs().max()), 1e-6)
    # The Gram side takes two sums of fourth powers from each other.
    rounding = 1e-8 + 1e-14 * scale**4
    torch.testing.assert_close(
        torch.stack(terms), torch.stack(other_terms), rtol=1e-8, atol=rounding
    )
    for one, other in zip(gradient, other_gradient, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9 * largest)


@pytest.mark.parametrize("large", [10.0, 100.0, 1000.0])
@pytest.mark.parametrize(("rows", "dims", "small"), [(256, 512, 1.0), (32, 64, 0.01)])
def test_a_dimension_that_dwarfs_the_others_costs_no_accuracy(
    rows: int, dims: int, small: float, large: float
) -> None:
    def official(z1: Tensor, z2: Tensor) -> Tensor:
        """The paper's formulas, by autograd."""
        total = 25 * (z1 - z2).square().mean()
        for z in (z1, z2):
            centred = z - z.mean(dim=0)
            deviations = (centred.var(dim=0) + 1e-4).sqrt()
            total = total + 25 * torch.relu(1 - deviations).mean() / 2
            covariance = centred.T @ centred / (rows - 1)
            squares = covariance.square()
            total = total + (squares.sum() - squares.diagonal().sum()) / dims
        return total

    exact = [z * small for z in two(rows, dims)]
    for z in exact:
        z[:, 3] *= large / small
    rounded = [z.float().requires_grad_() for z in exact]
    wanted = official(*(z.requires_grad_() for z in exact))
    wanted.backward()  # type: ignore[no-untyped-call]
    found = vicreg_loss(*rounded).total
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == pytest.approx(wanted.item(), rel=5e-5)  # a float32 sum
    for z, true in zip(rounded, exact, strict=True):
        assert z.grad is not None
        assert true.grad is not None
        assert (z.grad - true.grad).norm() < 1e-5 * true.grad.norm()


@pytest.mark.parametrize(("rows", "dims"), [(300, 40), (40, 300)])
def test_autocast_does_not_touch_the_products(rows: int, dims: int) -> None:
    z1, z2 = (z.requires_grad_() for z in two(rows, dims, dtype=torch.float32))
    wanted = vicreg_loss(z1, z2).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = vicreg_loss(z1, z2).total
        actual.backward()  # type: ignore[no-untyped-call]
    assert actual.dtype == torch.float32
    assert actual.item() == wanted.item()


def test_half_precision_input_gets_float32_terms_and_its_own_gradient() -> None:
    z1, z2 = (z.to(torch.bfloat16).requires_grad_() for z in two(16, 4))
    terms = vicreg_loss(z1, z2)
    terms.total.backward()  # type: ignore[no-untyped-call]
    assert terms.total.dtype == torch.float32
    assert z1.grad is not None
    assert z1.grad.dtype == torch.bfloat16


def test_float16_covariance_does_not_overflow() -> None:
    z = (torch.arange(32.0).view(16, 2) * 100).to(torch.float16)
    assert math.isfinite(vicreg_loss(z, z).total.item())


def test_double_backward_is_refused() -> None:
    z1, z2 = (z.requires_grad_() for z in two(6, 3))
    with pytest.raises(RuntimeError, match=r"no second one.*without create_graph=True"):
        torch.autograd.grad(vicreg_loss(z1, z2).total, z1, create_graph=True)


def test_kept_graph_can_be_gone_through_again() -> None:
    z1, z2 = (z.requires_grad_() for z in two(6, 3))
    total = vicreg_loss(z1, z2).total
    (wanted,) = torch.autograd.grad(total, z1, retain_graph=True)
    wanted = wanted.clone()
    for _ in range(3):
        total.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(z1.grad, 3 * wanted)


def test_a_scaled_loss_scales_its_gradient() -> None:
    z1, z2 = (z.requires_grad_() for z in two(6, 3))
    (one,) = torch.autograd.grad(vicreg_loss(z1, z2).total, z2)
    (other,) = torch.autograd.grad(vicreg_loss(z1, z2).total * -2.5, z2)
    torch.testing.assert_close(other, -2.5 * one)


def test_gradient_of_one_branch_alone() -> None:
    z1, z2 = two(6, 3)
    vicreg_loss(z1.requires_grad_(), z2).total.backward()  # type: ignore[no-untyped-call]
    assert z1.grad is not None
    assert z2.grad is None


def test_inputs_are_left_as_they_were() -> None:
    z1, z2 = two(6, 3)
    before = z1.clone(), z2.clone()
    vicreg_loss(z1.requires_grad_(), z2).total.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(z1.detach(), before[0])
    assert torch.equal(z2, before[1])


@pytest.mark.parametrize(
    ("z1", "z2", "error", "message"),
    [
        (torch.zeros(1, 3), torch.zeros(1, 3), ValueError, "at least two rows.*rows=1"),
        (torch.zeros(0, 3), torch.zeros(0, 3), ValueError, "at least two rows.*rows=0"),
        (torch.zeros(4, 3), torch.zeros(4, 2), ValueError, r"same shape.*\(4, 3\) and \(4, 2\)"),
        (torch.zeros(4), torch.zeros(4), ValueError, r"\(rows, dimensions\).*\(4,\)"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), ValueError, r"\(rows, dimensions\)"),
        (torch.zeros(4, 0), torch.zeros(4, 0), ValueError, r"\(rows, dimensions\)"),
        (torch.zeros(4, 2).int(), torch.zeros(4, 2), TypeError, "z1 must be a floating.*int32"),
        (torch.zeros(4, 2), np.zeros((4, 2)), TypeError, "z2 must be a floating.*ndarray"),
        (torch.full((4, 2), math.nan), torch.zeros(4, 2), ValueError, "z1 must be finite.*8 of 8"),
        (torch.zeros(4, 2), torch.full((4, 2), -math.inf), ValueError, "z2 must be finite"),
        (torch.eye(4) * 1e30, torch.zeros(4, 4), ValueError, "overflows float32.*1e[+]30"),
    ],
)
def test_bad_projections_are_refused(
    z1: Any, z2: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        vicreg_loss(z1, z2)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"lam": -1.0}, "lam must be a non-negative finite number, however: lam=-1.0"),
        ({"mu": math.nan}, "mu must be"),
        ({"nu": math.inf}, "nu must be"),
        ({"gamma": -0.1}, "gamma must be"),
        ({"eps": 0.0}, "eps must be a positive finite number, however: eps=0.0"),
    ],
)
def test_bad_weights_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vicreg_loss(torch.zeros(2, 2), torch.zeros(2, 2), **weights)
    with pytest.raises(ValueError, match=message):
        VICRegLoss(**weights)


def test_module_equals_function() -> None:
    z1, z2 = two(8, 3)
    module = VICRegLoss(lam=1.0, mu=2.0, nu=3.0, gamma=0.5, eps=0.1)
    actual = module(z1, z2)
    assert isinstance(actual, VICRegTerms)
    assert actual == vicreg_loss(z1, z2, lam=1.0, mu=2.0, nu=3.0, gamma=0.5, eps=0.1)
    assert repr(module) == "VICRegLoss(lam=1, mu=2, nu=3, gamma=0.5, eps=0.1)"
