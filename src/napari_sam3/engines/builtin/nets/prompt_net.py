"""The prompt net: mask and expected overlap (IoU) for crops with prompts."""

from __future__ import annotations

import numpy as np

from napari_sam3.core.arrays import Float32Array
from napari_sam3.engines.builtin.nets.layers import Weights, sigmoid, unfolded

_BATCH = 16


def run_prompt_net(weights: Weights, planes: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Answer a batch of prompts.

    Parameters
    ----------
    planes : ndarray of float32, shape (n, 6, 64, 64)
        As `napari_sam3.engines.builtin.nets.planes.prompt_planes` makes them.

    Returns
    -------
    logits : ndarray of float32, shape (n, 64, 64)
        Positive inside the object.
    judged : ndarray of float32, shape (n,)
        Logit of the overlap that the answer is expected to have with the true object.
    """
    parts = [
        _answered(weights, planes[first : first + _BATCH])
        for first in range(0, len(planes), _BATCH)
    ]
    logits, judged = zip(*parts, strict=True)
    return np.concatenate(logits), np.concatenate(judged)


def _answered(weights: Weights, planes: Float32Array) -> tuple[Float32Array, Float32Array]:
    channels = np.ascontiguousarray(planes.transpose(1, 0, 2, 3))
    fine, coarse = weights.trunk(channels)
    detail = unfolded(weights.conv("spread", fine, relu=False))
    merged = weights.conv("refine", np.concatenate([detail, channels[:2]]))
    logits = weights.conv("mask", merged, relu=False)[0]
    return logits, _judged(weights, fine, coarse, logits)


def _judged(
    weights: Weights, fine: Float32Array, coarse: Float32Array, logits: Float32Array
) -> Float32Array:
    """Return the logit of the expected overlap; mirrors `PromptNet.judged` of the training."""
    inside = sigmoid(logits)
    count, rows, cols = inside.shape
    half = inside.reshape(count, rows // 2, 2, cols // 2, 2).mean(axis=(2, 4))
    weight = np.maximum(half.sum(axis=(1, 2)), 1e-3)
    mean = inside.mean(axis=(1, 2))
    border = (inside[:, 0] + inside[:, -1] + inside[:, :, 0] + inside[:, :, -1]).mean(axis=1) / 4
    undecided = (inside * (1 - inside)).mean(axis=(1, 2)) / (mean + np.float32(0.01))
    told = np.concatenate(
        [
            (fine * half).sum(axis=(2, 3)) / weight,
            fine.mean(axis=(2, 3)),
            coarse.mean(axis=(2, 3)),
            np.stack([mean, undecided, border]),
        ]
    )
    first, first_bias = weights.pair("judge1")
    last, last_bias = weights.pair("judge2")
    hidden = np.maximum(first @ told + first_bias[:, None], 0)
    return np.asarray((last @ hidden + last_bias[:, None])[0], np.float32)
