"""Computes first and second derivatives of a loss by weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.vocabulary.given.errors import first_line
from harness.vocabulary.tensors import Tensors


def gradients_of(
    loss: Tensor, parameters: Mapping[str, Tensor], create_graph: bool = False
) -> Tensors:
    """Returns d loss / d parameter by name, 0 where the loss does not depend on the parameter.

    Raises:
        ValueError: the loss is no tensor with a graph behind it, or a checkpoint that is not
            torch's own refuses.
    """
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise ValueError(
            f"the loss has no gradient: {loss!r} depends on no weight as torch sees it; return "
            "the tensor, without float(), item() or detach(), and run the forward without no_grad"
        )
    wanted = list(parameters.values())
    try:
        gradients = torch.autograd.grad(
            loss, wanted, create_graph=create_graph, materialize_grads=True
        )
    except RuntimeError as error:
        if "checkpoint" not in str(error).lower():
            raise
        raise ValueError(
            f"a checkpoint in the forward refuses autograd.grad ({first_line(error)})"
            "; use torch.utils.checkpoint there with use_reentrant=False, or call the part itself"
        ) from error
    return dict(zip(parameters, gradients, strict=True))


def hessian_times(gradients: Tensors, vector: Tensors, parameters: Mapping[str, Tensor]) -> Tensors:
    """Returns H v by parameter, from gradients that were taken with create_graph.

    The graph is kept for further vectors. 0 where the loss is linear in all the parameters.
    """
    pairs = [(g, vector[name]) for name, g in gradients.items() if g.requires_grad]
    if not pairs:
        return {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    products = torch.autograd.grad(
        [gradient for gradient, _ in pairs],
        list(parameters.values()),
        [direction for _, direction in pairs],
        retain_graph=True,
        materialize_grads=True,
    )
    return dict(zip(parameters, products, strict=True))


@contextmanager
def differentiable_attention() -> Iterator[None]:
    """Disables fused attention, whose gradient cannot be differentiated.

    It is entered around the forward and around its gradients, in which a checkpoint repeats the
    forward.
    """
    with sdpa_kernel(SDPBackend.MATH):
        yield
