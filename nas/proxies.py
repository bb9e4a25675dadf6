"""What an untrained network tells about how well it may train, from one pass over real images.

Each proxy is one number, and higher is better. They rank networks in the bulk and not among the
best (see nas.screening and runs/LOG.md): good for discarding, never for choosing.

jacob_cov   −Σ_i [log(λ_i + k) + 1/(λ_i + k)], k = 10⁻⁵, over the eigenvalues λ of the correlation
            matrix of the rows ∂(Σ_c f_c(x_i))/∂x_i: whether a network reacts to different images in
            different ways (Mellor et al. 2020, arXiv:2006.04647v1; as a proxy of a search,
            Abdelfattah et al. 2021, arXiv:2101.08134).
naswot      log det(K + I), where K_ij counts the units that are both on or both off for images i
            and j (Mellor et al. 2021, arXiv:2006.04647v3, who have no I: without it the determinant
            is 0 as soon as no unit tells two images apart). A unit is on where the input of the
            activation function is above 0, whatever the function.
synflow     log Σ_θ θ ∂R/∂θ, where R = 1ᵀ(Π_l |θ_l|)1 is what flows through a network of absolute
            weights (Tanaka et al. 2020, arXiv:2006.05467). R is computed in float64 from one image
            of ones, without norms, biases and dropout. Activation functions are left out, too: on
            values from 0 up ReLU, leaky ReLU and ELU are the identity, GELU and SiLU nearly.
"""

import copy
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nas.errors import SettingsError

Array = NDArray[np.float64]

BATCH = 32
"""Images that a network is shown. 64 took twice the time, and jacob_cov and naswot had the same
rank correlation with the score (0.16 and 0.11, n = 55) as with 32 (0.18 and 0.10)."""

JACOB_K = 1e-5

ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU,
    nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh,
)  # fmt: skip
NORMS = (nn.BatchNorm2d,)
WEIGHTED = (nn.Conv2d, nn.Linear)

PROXIES = ("jacob_cov", "naswot", "synflow")


def proxies(network: nn.Module, images: torch.Tensor, seed: int) -> dict[str, float]:
    """PROXIES of a network with its initial weights; always finite.

    Norms use the statistics of the batch, as in the papers: those that they keep mean nothing
    before training. The network, its gradients and the global generator stay as they were.

    Args:
        network: (N, C, H, W) to (N, classes), on the device of the images.
        images: (N, C, H, W) floats, standardised, N at least 2; BATCH of them are drawn.
        seed: of the draw; only numbers of one seed compare.

    Raises:
        SettingsError: fewer than two images.
    """
    if len(images) < 2:
        raise SettingsError(
            f"proxies compare images, so they need at least 2, but there are {len(images)}; "
            "give more"
        )
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:BATCH]
    own = copy.deepcopy(network).train().requires_grad_(False)
    for module in own.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    jacobian, agreement = _reaction(own, images[drawn.to(images.device)].float())
    return {
        "jacob_cov": _jacob_cov(jacobian),
        "naswot": float(np.linalg.slogdet(agreement + np.eye(len(agreement)))[1]),
        "synflow": _synflow(own, images.shape[1:]),
    }


def _reaction(network: nn.Module, batch: torch.Tensor) -> tuple[Array, Array]:
    """Jacobian rows [N, C·H·W] of the summed outputs, and the counts of agreeing units [N, N]."""
    products = torch.zeros(len(batch), len(batch), dtype=torch.float64)
    units = 0

    def look(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        # Of signs ±1, units that agree add 1 to the product and others take 1 away. Looked at
        # before the function: it may overwrite its input.
        nonlocal units
        signs = torch.where(inputs[0].detach().flatten(1) > 0, 1.0, -1.0)
        units += signs.shape[1]
        products.add_((signs @ signs.T).double().cpu())

    for module in network.modules():
        if isinstance(module, ACTIVATIONS):
            module.register_forward_pre_hook(look)
    with torch.enable_grad():
        inputs = batch.clone().requires_grad_()
        (jacobian,) = torch.autograd.grad(network(inputs).sum(), inputs)
    return jacobian.flatten(1).double().cpu().numpy(), (products.numpy() + units) / 2


def _jacob_cov(jacobian: Array) -> float:
    # A row that overflowed, or is constant, has no correlation with any, not even itself: it
    # counts as badly as an image that is not told apart from another.
    rows = np.where(np.isfinite(jacobian).all(1, keepdims=True), jacobian, 0.0)
    rows = rows - rows.mean(1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    values = np.maximum(np.linalg.eigvalsh(rows @ rows.T), 0) + JACOB_K
    return float(-(np.log(values) + 1 / values).sum())


def _synflow(network: nn.Module, shape: torch.Size) -> float:
    """Changes the network, which is of no further use."""
    network.to("cpu", torch.float64)
    _keep_weights_only(network)
    weights = [m.weight for m in network.modules() if isinstance(m, WEIGHTED)]
    for weight in weights:
        weight.abs_().requires_grad_()
    with torch.enable_grad():
        flow = network(torch.ones(1, *shape, dtype=torch.float64)).sum()
        gradients = torch.autograd.grad(flow, weights)
    pairs = zip(weights, gradients, strict=True)
    total = sum(float((weight.detach() * gradient).sum()) for weight, gradient in pairs)
    limits = np.finfo(np.float64)
    return math.log(np.nan_to_num(np.maximum(total, limits.tiny), nan=limits.tiny))


def _keep_weights_only(network: nn.Module) -> None:
    for name, child in network.named_children():
        if isinstance(child, (*ACTIVATIONS, *NORMS, nn.Dropout)):
            setattr(network, name, nn.Identity())
        elif isinstance(child, WEIGHTED) and child.bias is not None:
            child.bias.zero_()
        else:
            _keep_weights_only(child)
