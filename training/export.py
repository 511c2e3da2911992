"""From checkpoints to the weights that are shipped: batch norm folded, half precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.nets import Conv
from training.train import NETS

Arrays = dict[str, npt.NDArray[Any]]


def exported(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield (``LAYER.weight`` or ``LAYER.bias``, values) with batch norm folded in."""
    inside = [name for name, module in net.named_modules() if isinstance(module, Conv)]
    for name, module in net.named_modules():
        if isinstance(module, Conv):
            weight, bias = folded_norm(module)
        elif isinstance(module, nn.Conv2d | nn.Linear) and name.rpartition(".")[0] not in inside:
            assert module.bias is not None
            weight, bias = module.weight, module.bias
        else:
            continue
        yield f"{name}.weight", weight
        yield f"{name}.bias", bias


def folded_norm(conv: Conv) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the one convolution that equals convolution and batch norm."""
    plain, norm = conv[0], conv[1]
    assert isinstance(plain, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return plain.weight * factor[:, None, None, None], norm.bias - norm.running_mean * factor


def read_net(name: str, checkpoint: Path) -> nn.Module:
    """Return a net with a checkpoint's smoothed weights, ready to answer."""
    net = NETS[name]()
    net.load_state_dict(torch.load(checkpoint, weights_only=True)["smooth"])
    return net.eval()


def arrays_of(nets: dict[str, nn.Module], dtype: npt.DTypeLike = np.float16) -> Arrays:
    """Return the exported layers of several nets as ``NET/LAYER.weight``."""
    return {
        f"{name}/{layer}": values.detach().contiguous().numpy().astype(dtype)
        for name, net in nets.items()
        for layer, values in exported(net)
    }


def export(checkpoints: dict[str, Path], path: Path) -> int:
    """Write the weights of all nets to one file.

    Parameters
    ----------
    checkpoints : dict of str to Path
    path : Path

    Returns
    -------
    int
        Size in bytes.
    """
    nets = {name: read_net(name, checkpoint) for name, checkpoint in checkpoints.items()}
    np.savez_compressed(path, **arrays_of(nets))
    return path.stat().st_size
