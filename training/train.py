"""Training one of the nets, with checkpoints that it can be continued from."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.augment import Prepared
from training.batches import Drawer, add_clicks, dense_batch, prompt_batch
from training.data import Sample, iter_samples
from training.losses import dense_loss, prompt_loss
from training.nets import DenseNet, PromptNet
from training.split import may_be_learned_from
from training.synthetic import draw

# validation of the loss would cost a tenth of the time; `evaluate` measures what counts
NETS: dict[str, Callable[[], nn.Module]] = {"prompt": PromptNet, "dense": DenseNet}
STEPS = {"prompt": 8_000, "dense": 13_000}
SIZES = {"prompt": 32, "dense": 8}
_RATE = 2.5e-3
_WARM_UP = 300
_DECAY = 0.998
_CORRECTED = 0.35
_SAVE_S = 180.0
_SEED = 20


@dataclass
class Progress:
    """Everything that a later run needs to go on.

    Parameters
    ----------
    net, smooth : Module
        The net, and the running mean of its weights, which is what is exported.
    optimizer : Optimizer
    step : int
    """

    net: nn.Module
    smooth: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def start(cls, name: str) -> Progress:
        """Return an untrained net, always the same."""
        torch.manual_seed(_SEED)
        net = NETS[name]().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=1e-4)
        return cls(net, copy.deepcopy(net).eval(), optimizer)

    def save(self, path: Path) -> None:
        """Write a checkpoint; an interrupted write leaves the old one."""
        state = {
            "net": self.net.state_dict(),
            "smooth": self.smooth.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.smooth.load_state_dict(state["smooth"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def follow(self) -> None:
        """Move the running mean towards the net."""
        decay = min(_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            mine, theirs = self.smooth.state_dict(), self.net.state_dict()
            for name, value in mine.items():
                if value.dtype.is_floating_point:
                    value.lerp_(theirs[name], 1 - decay)


def training_samples(folder: Path, synthetic: int) -> list[Sample]:
    """Return what may be learned from: nothing that the split holds out."""
    samples = not_held_out(list(iter_samples(folder)))
    return samples + [draw(index) for index in range(synthetic)]


def not_held_out(samples: list[Sample]) -> list[Sample]:
    """Return the samples that the split leaves to learn from."""
    return [sample for sample in samples if may_be_learned_from(sample.name)]


def train(
    name: str,
    prepared: list[Prepared],
    checkpoint: Path,
    steps: int | None = None,
    report: Callable[[str], None] = print,
) -> Progress:
    """Train a net, from its checkpoint if there is one.

    Parameters
    ----------
    name : {"prompt", "dense"}
    prepared : list of Prepared
    checkpoint : Path
    steps : int, optional
        In all; the learning rate falls to zero over them.
    report : callable
        Told a line now and then.

    Returns
    -------
    Progress
    """
    torch.set_num_threads(1)
    total = steps or STEPS[name]
    progress = Progress.start(name)
    if checkpoint.exists():
        progress.restore(checkpoint)
    drawer = Drawer(prepared)
    report(f"{name}: {len(prepared)} images, step {progress.step} of {total}")
    start = saved = time.monotonic()
    mean, last = 0.0, progress.step
    while progress.step < total:
        # a step's examples depend on its number only, so that a continued run repeats nothing
        rng = np.random.default_rng((_SEED, progress.step))
        for group in progress.optimizer.param_groups:
            group["lr"] = _RATE * _schedule(progress.step, total)
        loss = _STEPS[name](progress.net, drawer, rng)
        progress.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(progress.net.parameters(), 5.0)
        progress.optimizer.step()
        progress.step += 1
        progress.follow()
        mean += float(loss.detach())
        now = time.monotonic()
        if progress.step % 100 == 0:
            report(f"{progress.step} {mean / (progress.step - last):.4f} {now - start:.0f} s")
            mean, last = 0.0, progress.step
        if now - saved > _SAVE_S:
            progress.save(checkpoint)
            saved = now
    progress.save(checkpoint)
    return progress


def _schedule(step: int, total: int) -> float:
    return min(1.0, (step + 1) / _WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * step / total)) + 1e-3


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _prompt_step(net: nn.Module, drawer: Drawer, rng: np.random.Generator) -> Tensor:
    batch = prompt_batch(drawer, SIZES["prompt"], rng)
    target, valid, area = map(_tensor, (batch.target, batch.valid, batch.area))
    # answers of the net as it is now, corrected once or twice, are examples of their own
    for share in [_CORRECTED] * int(rng.integers(0, 3)):
        with torch.no_grad():
            logits, _ = net(_planes(batch.planes()))
        add_clicks(batch, torch.sigmoid(logits).numpy(), share, rng)
    logits, judged = net(_planes(batch.planes()))
    return prompt_loss(logits, judged, target, valid, area)


def _dense_step(net: nn.Module, drawer: Drawer, rng: np.random.Generator) -> Tensor:
    batch = dense_batch(drawer, SIZES["dense"], rng)
    maps = net(_planes(batch.planes))
    truth = map(_tensor, (batch.foreground, batch.distance, batch.size, batch.valid))
    return dense_loss(maps, *truth)


def _planes(values: Any) -> Tensor:
    return _tensor(values).to(memory_format=torch.channels_last)


_STEPS: dict[str, Callable[[nn.Module, Drawer, np.random.Generator], Tensor]] = {
    "prompt": _prompt_step,
    "dense": _dense_step,
}
