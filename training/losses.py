"""What the nets are punished for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SIZE_WEIGHT = 0.5
_DISTANCE_WEIGHT = 4.0
_JUDGE_WEIGHT = 0.5


def dice_loss(probability: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return one minus the soft overlap, shape (n,), of maps of shape (n, rows, cols)."""
    probability, target = probability * valid, target * valid
    common = (probability * target).sum(dim=(1, 2))
    total = probability.sum(dim=(1, 2)) + target.sum(dim=(1, 2))
    return 1 - (2 * common + 1) / (total + 1)


def overlaps(logits: Tensor, target: Tensor, valid: Tensor, area: Tensor) -> Tensor:
    """Return the true overlap (IoU) of each answer with the whole object, shape (n,)."""
    found = ((logits > 0) & (valid > 0)).float()
    common = (found * target).sum(dim=(1, 2))
    union = found.sum(dim=(1, 2)) + area - common
    return common / union.clamp(min=1)


def prompt_loss(
    logits: Tensor, judged: Tensor, target: Tensor, valid: Tensor, area: Tensor
) -> Tensor:
    """Return the prompt net's loss: mask by cross entropy and Dice, judgement by the truth."""
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    mask = (entropy * valid).mean(dim=(1, 2)) * 2 + dice_loss(torch.sigmoid(logits), target, valid)
    truth = overlaps(logits.detach(), target, valid, area)
    judgement = functional.binary_cross_entropy_with_logits(judged, truth)
    return mask.mean() + _JUDGE_WEIGHT * judgement


def dense_loss(
    maps: Tensor, foreground: Tensor, distance: Tensor, size: Tensor, valid: Tensor
) -> Tensor:
    """Return the dense net's loss over foreground, distance and size."""
    entropy = functional.binary_cross_entropy_with_logits(maps[:, 0], foreground, reduction="none")
    dice = dice_loss(torch.sigmoid(maps[:, 0]), foreground, valid)
    far = functional.smooth_l1_loss(maps[:, 1], distance, reduction="none", beta=0.2)
    # the gaps between touching objects are few pixels, but they decide what is one object
    weight = valid * (1 + 2 * foreground)
    body = foreground * valid
    apart = functional.smooth_l1_loss(maps[:, 2], size, reduction="none", beta=0.2) * body
    return (
        (entropy * valid).mean()
        + 0.5 * dice.mean()
        + _DISTANCE_WEIGHT * (far * weight).mean()
        + _SIZE_WEIGHT * apart.sum() / body.sum().clamp(min=1)
    )
