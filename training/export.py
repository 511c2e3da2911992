"""From checkpoints to the weights that are shipped: batch norm folded, half precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_sam3.engines.builtin.nets.layers import Weights
from training.calibrate import everything_score, prompt_score
from training.data import Sample
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


def weights_of(arrays: Arrays, net: str) -> Weights:
    """Return one net's arrays, ready to run without torch."""
    start = f"{net}/"
    return Weights(
        {
            name.removeprefix(start): values.astype(np.float32)
            for name, values in arrays.items()
            if name.startswith(start)
        }
    )


def export(checkpoints: dict[str, Path], samples: Sequence[Sample], path: Path) -> int:
    """Write the weights of all nets, with calibrated scores, to one file.

    Parameters
    ----------
    checkpoints : dict of str to Path
    samples : sequence of Sample
        To calibrate the scores with; nothing that is held out.
    path : Path

    Returns
    -------
    int
        Size in bytes.
    """
    arrays = arrays_of({name: read_net(name, file) for name, file in checkpoints.items()})
    rng = np.random.default_rng(0)
    arrays |= {"dense/score.weight": np.zeros(4), "dense/score.bias": np.zeros(())}
    fitted = everything_score(weights_of(arrays, "dense"), samples, rng)
    arrays |= {"dense/score.weight": fitted[:-1], "dense/score.bias": fitted[-1]}
    slope, offset = prompt_score(weights_of(arrays, "prompt"), samples, rng)
    weight, bias = arrays["prompt/judge2.weight"], arrays["prompt/judge2.bias"]
    arrays |= {"prompt/judge2.weight": weight * slope, "prompt/judge2.bias": bias * slope + offset}
    half = {name: np.asarray(values, np.float16) for name, values in arrays.items()}
    np.savez_compressed(path, **half)  # type: ignore[arg-type]
    return path.stat().st_size
