"""The two nets, as torch modules; `napari_sam3.engines.builtin.nets` runs them without torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_sam3.engines.builtin.nets.planes import DENSE_PLANES, PROMPT_PLANES

PROMPT_WIDTHS = (32, 56, 72)
DENSE_WIDTHS = (24, 48, 72)
DENSE_MAPS = 3


class Conv(nn.Sequential):
    """Convolution, batch norm, ReLU: one layer after export."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Trunk(nn.Module):
    """A U-Net of three levels on a picture of half the resolution.

    Folding 2 × 2 pixels into channels first makes every later layer four times cheaper;
    skips are added, not concatenated, for the same reason.
    """

    def __init__(self, planes: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.stem1 = Conv(4 * planes, fine)
        self.stem2 = Conv(fine, fine)
        self.down1 = Conv(fine, middle, stride=2)
        self.mid1 = Conv(middle, middle)
        self.down2 = Conv(middle, coarse, stride=2)
        self.low1 = Conv(coarse, coarse)
        self.low2 = Conv(coarse, coarse)
        self.lift2 = Conv(coarse, middle, size=1)
        self.mid2 = Conv(middle, middle)
        self.lift1 = Conv(middle, fine, size=1)
        self.fine = Conv(fine, fine)

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Return features at half and at an eighth of the resolution."""
        fine = self.stem2(self.stem1(functional.pixel_unshuffle(planes, 2)))
        middle = self.mid1(self.down1(fine))
        coarse = self.low2(self.low1(self.down2(middle)))
        middle = self.mid2(middle + _doubled(self.lift2(coarse)))
        return self.fine(fine + _doubled(self.lift1(middle))), coarse


def _doubled(planes: Tensor) -> Tensor:
    return functional.interpolate(planes, scale_factor=2.0, mode="nearest")


class PromptNet(nn.Module):
    """Mask and expected overlap (IoU) of the one object that a prompt means.

    The input is what `napari_sam3.engines.builtin.nets.planes.prompt_planes` makes.
    """

    def __init__(self) -> None:
        super().__init__()
        fine, _, coarse = PROMPT_WIDTHS
        self.trunk = Trunk(PROMPT_PLANES, PROMPT_WIDTHS)
        self.spread = nn.Conv2d(fine, 32, 1)
        self.refine = Conv(8 + 2, 8)
        self.mask = nn.Conv2d(8, 1, 1)
        self.judge1 = nn.Linear(2 * fine + coarse + 3, 48)
        self.judge2 = nn.Linear(48, 1)

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Return mask logits, (n, 64, 64), and the logit of the expected overlap, (n,)."""
        fine, coarse = self.trunk(planes)
        detail = functional.pixel_shuffle(self.spread(fine), 2)
        logits = self.mask(self.refine(torch.cat([detail, planes[:, :2]], dim=1)))[:, 0]
        return logits, self.judged(fine, coarse, logits.detach())

    def judged(self, fine: Tensor, coarse: Tensor, logits: Tensor) -> Tensor:
        """Return the logit of the overlap that the answer is expected to have."""
        inside = torch.sigmoid(logits)
        half = functional.avg_pool2d(inside[:, None], 2)
        weight = half.sum(dim=(2, 3)).clamp(min=1e-3)
        border = torch.cat([inside[:, 0], inside[:, -1], inside[:, :, 0], inside[:, :, -1]], dim=1)
        told = torch.cat(
            [
                (fine * half).sum(dim=(2, 3)) / weight,
                fine.mean(dim=(2, 3)),
                coarse.mean(dim=(2, 3)),
                inside.mean(dim=(1, 2))[:, None],
                # undecided pixels, per pixel of the object
                ((inside * (1 - inside)).mean(dim=(1, 2)) / (inside.mean(dim=(1, 2)) + 0.01))[
                    :, None
                ],
                border.mean(dim=1)[:, None],
            ],
            dim=1,
        )
        judged: Tensor = self.judge2(functional.relu(self.judge1(told)))
        return judged[:, 0]


class DenseNet(nn.Module):
    """Foreground, distance to the outline and size for every pixel, at the canonical scale.

    The input is what `napari_sam3.engines.builtin.nets.planes.dense_planes` makes; rows and
    columns are multiples of 8.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk(DENSE_PLANES, DENSE_WIDTHS)
        self.maps = nn.Conv2d(DENSE_WIDTHS[0], 4 * DENSE_MAPS, 1)

    def forward(self, planes: Tensor) -> Tensor:
        """Return (n, 3, rows, cols).

        Logit of foreground; distance to the outline, 1 at an object's innermost pixel;
        logarithm of the object's diameter over the canonical one.
        """
        fine, _ = self.trunk(planes)
        return functional.pixel_shuffle(self.maps(fine), 2)
