"""The VICReg loss, with its gradient in closed form.

Source: Bardes, Ponce, LeCun, "VICReg: Variance-Invariance-Covariance Regularization for
Self-Supervised Learning", ICLR 2022, arXiv 2105.04906, section 4.1, equations 1 to 6.

For two projections ``z1`` and ``z2`` of n rows and d dimensions, with ``C`` the covariance of one
branch (over rows, divided by n - 1) and ``S = sqrt(diag(C) + eps)``::

    invariance = mean((z1 - z2)^2)                              over rows and dimensions
    variance   = mean(max(0, gamma - S)) / 2                    over dimensions, both branches
    covariance = (sum of the squared off-diagonal of C) / d     both branches
    total      = lam * invariance + mu * variance + nu * covariance

NOTE[DIFF] The paper's equation 1 does not halve the variance, and its invariance (equation 5) is a
mean over rows of squared distances. The authors' code averages the invariance over dimensions too
and halves the variance; this is the convention here, so that published weights keep their meaning.
"""

from __future__ import annotations

import itertools
import math
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from vicreg.precision import fastest_float32

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "LossWeights",
    "VICRegLoss",
    "VICRegTerms",
    "closed_form_loss",
    "loss_and_gradient",
    "vicreg_loss",
]

#: Entries of a projection up to which both branches are worked on together: half of the calls, and
#: at the most 1 MiB more of memory.
MOST_TOGETHER = 2**16
#: Share of a sum that a difference must be, not to be lost in the sum's rounding.
LEAST_DIFFERENCE = 0.01


class VICRegTerms(NamedTuple):
    """The loss and its three unweighted terms, each a scalar tensor.

    Every field carries a gradient, so a user may weigh the terms anew:
    ``(terms.invariance + 0.5 * terms.variance).backward()``.
    """

    total: Tensor
    invariance: Tensor
    variance: Tensor
    covariance: Tensor


class LossWeights(NamedTuple):
    """The paper's λ, μ, ν, γ and ε."""

    lam: float
    mu: float
    nu: float
    gamma: float
    eps: float


def vicreg_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    lam: float = 25.0,
    mu: float = 25.0,
    nu: float = 1.0,
    gamma: float = 1.0,
    eps: float = 1e-4,
) -> VICRegTerms:
    """VICReg loss of two projections of the same rows.

    Computed in float32 (float64 where an input is float64), whatever the autocast: a covariance
    above 65504 / n would overflow in float16. The gradient is computed together with the loss;
    second derivatives are refused.

    Parameters
    ----------
    z1, z2 : Tensor, shape (rows, dimensions)
        Projections of the two views; row i of both comes from the same row of the table.
        Floating point, at least two rows and one dimension.
    lam, mu, nu : float
        Weights of the invariance, variance and covariance terms (equation 6). Not negative.
    gamma : float
        Standard deviation below which a dimension is pushed apart (equation 1). Not negative.
    eps : float
        Added to the variance inside the square root (equation 2). Positive.

    Returns
    -------
    VICRegTerms
        ``(total, invariance, variance, covariance)``; the last three are not weighted.

    Raises
    ------
    TypeError
        If an input is not a floating point tensor.
    ValueError
        If shapes differ or are not (rows >= 2, dimensions >= 1), a value is not finite, or a
        weight is out of range.
    RuntimeError
        In the backward pass, if it is asked for a graph of the gradient (``create_graph=True``).

    Examples
    --------
    >>> import torch
    >>> from vicreg.loss import vicreg_loss
    >>> z = torch.tensor([[0.0, 1.0], [2.0, -1.0]], requires_grad=True)
    >>> terms = vicreg_loss(z, z)
    >>> terms.invariance.item(), terms.variance.item()
    (0.0, 0.0)
    >>> round(terms.covariance.item(), 4)  # off-diagonal entries -2, two dimensions, two branches
    8.0
    >>> terms.total.backward()
    >>> z.grad.shape
    torch.Size([2, 2])
    """
    weights = _checked_weights(lam=lam, mu=mu, nu=nu, gamma=gamma, eps=eps)
    _check_projections(z1, z2)
    terms = closed_form_loss(z1, z2, weights)
    if not math.isfinite(terms.total.item()):  # one read of a scalar
        _explain_non_finite(z1, z2)
    return terms


def closed_form_loss(z1: Tensor, z2: Tensor, weights: LossWeights) -> VICRegTerms:
    """:func:`vicreg_loss` of checked arguments: nothing is looked at, no device is waited for."""
    return VICRegTerms(*_ClosedForm.apply(z1, z2, weights))  # type: ignore[no-untyped-call]


def loss_and_gradient(
    z1: Tensor, z2: Tensor, weights: LossWeights
) -> tuple[VICRegTerms, tuple[Tensor, Tensor]]:
    """:func:`closed_form_loss`, and its total's gradient with respect to both projections.

    For who goes on from there: an autograd function around it takes a tenth of a small step.

    Examples
    --------
    >>> import torch
    >>> from vicreg.loss import LossWeights, loss_and_gradient
    >>> z1, z2 = torch.tensor([[1.0], [-1.0]]), torch.tensor([[2.0], [-2.0]])
    >>> terms, (of_z1, of_z2) = loss_and_gradient(z1, z2, LossWeights(1.0, 0.0, 0.0, 1.0, 1e-4))
    >>> of_z1.flatten()  # of the mean of (z1 - z2)^2
    tensor([-1.,  1.])
    """
    terms, gradient = _closed_form(z1, z2, weights, with_gradient=True)
    assert gradient is not None
    of_z1, of_z2 = gradient
    return _with_total(terms, weights), (of_z1.to(z1.dtype), of_z2.to(z2.dtype))


class VICRegLoss(nn.Module):
    """:func:`vicreg_loss` as a module that keeps its weights.

    Parameters
    ----------
    lam, mu, nu, gamma, eps : float
        See :func:`vicreg_loss`.

    Notes
    -----
    Shape: ``z1`` and ``z2`` are (rows, dimensions); the output is :class:`VICRegTerms` of scalars.

    Examples
    --------
    >>> import torch
    >>> from vicreg.loss import VICRegLoss
    >>> criterion = VICRegLoss(nu=0.1)
    >>> generator = torch.Generator().manual_seed(0)
    >>> z1, z2 = torch.randn(2, 8, 4, generator=generator)
    >>> bool(criterion(z1, z2).total > 0)
    True
    >>> criterion
    VICRegLoss(lam=25, mu=25, nu=0.1, gamma=1, eps=0.0001)
    """

    def __init__(
        self,
        *,
        lam: float = 25.0,
        mu: float = 25.0,
        nu: float = 1.0,
        gamma: float = 1.0,
        eps: float = 1e-4,
    ) -> None:
        super().__init__()
        self.weights = _checked_weights(lam=lam, mu=mu, nu=nu, gamma=gamma, eps=eps)

    def forward(self, z1: Tensor, z2: Tensor) -> VICRegTerms:
        return vicreg_loss(z1, z2, **self.weights._asdict())

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value:g}" for name, value in self.weights._asdict().items())


class _ClosedForm(torch.autograd.Function):
    """Loss and gradient in one pass.

    The gradient with respect to ``total`` is made in the forward pass, where the centred rows and
    the covariance are at hand, so that nothing of size d x d or n x n outlives it.
    """

    @staticmethod
    def forward(
        ctx: Any, z1: Tensor, z2: Tensor, weights: LossWeights
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        with_gradient = any(ctx.needs_input_grad)
        # A GPU would have to be waited for.
        looks = z1.device.type == "cpu"
        terms, ctx.gradient = _closed_form(
            z1, z2, weights, with_gradient=with_gradient, looks=looks
        )
        if with_gradient:
            ctx.weights = weights
            ctx.save_for_backward(z1, z2)
        total, invariance, variance, covariance = _with_total(terms, weights)
        return total, invariance, variance, covariance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "vicreg_loss has a closed-form first derivative and no second one: "
                "call backward() or torch.autograd.grad() without create_graph=True"
            )
        z1, z2 = ctx.saved_tensors
        of_total, *of_terms = gradients
        gradient, ctx.gradient = ctx.gradient, None  # handed out once, so it may be changed
        only_total = all(one is None for one in of_terms)
        if only_total and of_total is not None and gradient is not None:
            # Of backward() it is 1; a GPU would have to be waited for.
            if of_total.device.type != "cpu" or of_total.item() != 1:
                for of_branch in gradient:
                    of_branch *= of_total
        else:  # the named terms put together anew, or a second pass over a kept graph
            lam, mu, nu = (
                (0.0 if of_total is None else float(of_total)) * weight
                + (0.0 if one is None else float(one))
                for weight, one in zip(ctx.weights[:3], of_terms, strict=True)
            )
            weights = ctx.weights._replace(lam=lam, mu=mu, nu=nu)
            looks = z1.device.type == "cpu"
            _, gradient = _closed_form(z1, z2, weights, with_gradient=True, looks=looks)
            assert gradient is not None
        of_z1, of_z2 = gradient
        return of_z1.to(z1.dtype), of_z2.to(z2.dtype), None


@torch.no_grad()
def _with_total(terms: tuple[Tensor, Tensor, Tensor], weights: LossWeights) -> VICRegTerms:
    invariance, variance, covariance = terms
    total = invariance * weights.lam
    total.add_(variance, alpha=weights.mu).add_(covariance, alpha=weights.nu)
    return VICRegTerms(total, invariance, variance, covariance)


def _closed_form(
    z1: Tensor,
    z2: Tensor,
    weights: LossWeights,
    *,
    with_gradient: bool,
    gram: bool | None = None,
    looks: bool = False,
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor] | None]:
    """Terms (three scalars) and, if asked for, the gradient of their weighted sum, 2 x (n, d).

    With Z the centred rows of a branch and C = Z'Z / (n - 1)::

        d covariance / dZ = 4 / (d (n - 1)) * Z offdiag(C)
        d variance   / dZ = -1[S < gamma] / (2 d (n - 1) S) * Z       (column by column)

    Where d > n the d x d matrix is never formed: ``|Z'Z| = |ZZ'|`` in the Frobenius norm, and
    ``Z (Z'Z) = (ZZ') Z``. ``gram`` forces one side or the other; tests compare them.
    With ``looks`` the d x d matrix is formed after all where a few dimensions are so much larger
    than all others that the difference of the two sums would be lost in their rounding; a value is
    read to know, which a step of training does not.

    Small branches are worked on together, as half of their time would be calls. Large ones come
    one after the other, so that beside the gradients only one (n, d) and one square matrix are held
    at a time.
    """
    rows, dims = z1.shape
    if gram is None:
        gram = dims > rows
    dtype = torch.float64 if torch.float64 in (z1.dtype, z2.dtype) else torch.float32
    # Autocast would run the products in half precision.
    with (
        torch.no_grad(),
        torch.autocast(z1.device.type, enabled=False),
        fastest_float32(rows * dims * min(rows, dims)),
    ):
        z1, z2 = z1.to(dtype), z2.to(dtype)
        difference = z1 - z2
        invariance = _sum_of_squares(difference).mul_(1 / (rows * dims))
        of_branches = partial(_gram_branches, looks=looks) if gram else _covariance_branches
        together = rows * dims <= MOST_TOGETHER
        parts = [torch.stack((z1, z2))] if together else [z1[None], z2[None]]
        # The difference is worked out again below: its memory serves the centred rows.
        scratch = parts[0] if together else difference[None]
        variances, covariances, gradients = zip(
            *(of_branches(_centre(part, scratch), weights, with_gradient) for part in parts),
            strict=True,
        )
        terms = (invariance, reduce(torch.add, variances), reduce(torch.add, covariances))
        if not with_gradient:
            return terms, None
        of_z1, of_z2 = itertools.chain(*gradients)
        if not together:
            torch.sub(z1, z2, out=difference)
        of_difference = 2 * weights.lam / (rows * dims)
        of_z1.add_(difference, alpha=of_difference)
        of_z2.sub_(difference, alpha=of_difference)
        return terms, (of_z1, of_z2)


def _centre(branches: Tensor, out: Tensor) -> Tensor:
    # float64 is summed in numpy's order, by which the golden values were made.
    rows = branches.shape[1]
    in_order = branches.dtype == torch.float64
    mean = branches.new_full((rows,), 1 / rows) @ branches if in_order else branches.mean(dim=1)
    return torch.sub(branches, mean[:, None], out=out)


def _covariance_branches(
    z: Tensor, weights: LossWeights, with_gradient: bool
) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    """Variance and covariance terms of centred branches (b, n, d); their gradients, if wanted."""
    _, rows, dims = z.shape
    products = torch.bmm(z.mT, z)  # (b, d, d)
    diagonal = products.diagonal(dim1=1, dim2=2)
    deviations = _deviations(diagonal, rows, weights.eps)
    below = (deviations - weights.gamma).clamp_max_(0)  # minus what they fall short by
    diagonal.zero_()
    covariance = _sum_of_squares(products).mul_(1 / ((rows - 1) ** 2 * dims))
    gradients: Sequence[Tensor] = ()
    if with_gradient:
        products *= 4 * weights.nu / (dims * (rows - 1) ** 2)
        # The variance term multiplies each column of Z by a number: it takes the diagonal.
        diagonal.copy_(_pull(below, deviations, rows, weights.mu))
        gradients = torch.bmm(z, products).unbind()
    return below.sum().abs_().mul_(1 / (2 * dims)), covariance, gradients


def _gram_branches(
    z: Tensor, weights: LossWeights, with_gradient: bool, *, looks: bool
) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    """:func:`_covariance_branches` where d > n, through the products of rows."""
    _, rows, dims = z.shape
    products = torch.bmm(z, z.mT)  # (b, n, n)
    gradient = z.square()  # its memory; vector_norm over the rows takes ten times as long
    squares = gradient.sum(dim=1)  # (b, d)
    deviations = _deviations(squares, rows, weights.eps)
    below = (deviations - weights.gamma).clamp_max_(0)  # minus what they fall short by
    # The difference of two rounded sums can come out below zero.
    everything = _sum_of_squares(products)
    covariance = (everything - _sum_of_squares(squares)).clamp_min_(0)
    if looks and bool(covariance < LEAST_DIFFERENCE * everything):
        return _covariance_branches(z, weights, with_gradient)
    covariance.mul_(1 / ((rows - 1) ** 2 * dims))
    gradients: Sequence[Tensor] = ()
    if with_gradient:
        scale = 4 * weights.nu / (dims * (rows - 1) ** 2)
        torch.bmm(products.mul_(scale), z, out=gradient)
        # ZZ'Z brings the diagonal of C with it: taken off here, column by column.
        pull = _pull(below, deviations, rows, weights.mu).sub_(squares, alpha=scale)
        gradients = gradient.addcmul_(z, pull[:, None]).unbind()
    return below.sum().abs_().mul_(1 / (2 * dims)), covariance, gradients


def _sum_of_squares(values: Tensor) -> Tensor:
    flat = values.reshape(-1)
    return torch.dot(flat, flat)


def _deviations(squares: Tensor, rows: int, eps: float) -> Tensor:
    return (squares * (1 / (rows - 1))).add_(eps).sqrt_()


def _pull(below: Tensor, deviations: Tensor, rows: int, mu: float) -> Tensor:
    """What the variance term multiplies the columns of Z by: -mu 1[S < gamma] / (2 d (n - 1) S)."""
    dims = below.shape[1]
    return torch.sign(below).div_(deviations).mul_(mu / (2 * dims * (rows - 1)))


def _checked_weights(*, lam: float, mu: float, nu: float, gamma: float, eps: float) -> LossWeights:
    weights = LossWeights(lam, mu, nu, gamma, eps)
    for name, value in weights._asdict().items():
        smallest_allowed = value > 0 if name == "eps" else value >= 0
        if not (smallest_allowed and math.isfinite(value)):
            rule = "a positive" if name == "eps" else "a non-negative"
            raise ValueError(f"{name} must be {rule} finite number, however: {name}={value!r}")
    return weights


def _check_projections(z1: Tensor, z2: Tensor) -> None:
    for name, z in (("z1", z1), ("z2", z2)):
        if not isinstance(z, Tensor) or not z.is_floating_point():
            received = z.dtype if isinstance(z, Tensor) else type(z).__name__
            raise TypeError(f"{name} must be a floating point tensor, however: {received}")
    if z1.shape != z2.shape:
        raise ValueError(
            f"z1 and z2 must have the same shape, however: {tuple(z1.shape)} and {tuple(z2.shape)}"
        )
    if z1.dim() != 2 or z1.shape[1] == 0:
        raise ValueError(
            f"projections must have the shape (rows, dimensions), however: {tuple(z1.shape)}"
        )
    if z1.shape[0] < 2:
        raise ValueError(
            "variance and covariance need at least two rows in a batch, "
            f"however: rows={z1.shape[0]}"
        )


def _explain_non_finite(z1: Tensor, z2: Tensor) -> None:
    for name, z in (("z1", z1), ("z2", z2)):
        bad = int((~torch.isfinite(z)).sum())
        if bad:
            raise ValueError(
                f"{name} must be finite, however: {bad} of {z.numel()} entries are NaN or infinite"
            )
    largest = max(float(z1.detach().abs().max()), float(z2.detach().abs().max()))
    raise ValueError(
        "the loss overflows float32: projections must be of a moderate size, "
        f"however: the largest entry is {largest:.3g}"
    )
