"""What runs without torch is what was trained."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch; the package does not")

from napari_sam3.engines.builtin.nets.dense_net import run_dense_net  # noqa: E402
from napari_sam3.engines.builtin.nets.prompt_net import run_prompt_net  # noqa: E402
from training.calibrate import best_overlaps, fit_logistic  # noqa: E402
from training.export import arrays_of, weights_of  # noqa: E402
from training.losses import dice_loss, overlaps  # noqa: E402
from training.nets import DenseNet, PromptNet  # noqa: E402

CLOSE = 1e-3


def with_experience(net, planes):
    """Let batch norm see something, so that there is something to fold."""
    torch.manual_seed(1)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(planes * 2 + 0.3)
    return net.eval()


def test_the_prompt_net_answers_as_in_training():
    torch.manual_seed(0)
    planes = torch.randn(3, 6, 64, 64)
    net = with_experience(PromptNet(), planes)
    logits, judged = run_prompt_net(
        weights_of(arrays_of({"prompt": net}, np.float32), "prompt"), planes.numpy()
    )
    with torch.no_grad():
        expected, expected_judged = net(planes)
    assert np.abs(logits - expected.numpy()).max() < CLOSE
    assert np.abs(judged - expected_judged.numpy()).max() < CLOSE


def test_the_dense_net_answers_as_in_training():
    torch.manual_seed(0)
    planes = torch.randn(1, 4, 40, 64)
    net = with_experience(DenseNet(), planes)
    maps = run_dense_net(
        weights_of(arrays_of({"dense": net}, np.float32), "dense"), planes[0].numpy()
    )
    with torch.no_grad():
        expected = net(planes)[0]
    assert np.abs(maps - expected.numpy()).max() < CLOSE


def test_the_overlap_counts_what_lies_outside_of_the_crop():
    target = torch.zeros(1, 8, 8)
    target[:, :4] = 1
    logits = target * 2 - 1
    valid = torch.ones(1, 8, 8)
    assert overlaps(logits, target, valid, torch.tensor([32.0])).item() == 1
    assert overlaps(logits, target, valid, torch.tensor([64.0])).item() == 0.5


def test_dice_is_zero_for_the_perfect_answer():
    target = torch.zeros(1, 8, 8)
    target[:, :4] = 1
    assert dice_loss(target, target, torch.ones(1, 8, 8)).item() == pytest.approx(0)


def test_the_logistic_regression_finds_the_line_that_made_the_values():
    table = np.random.default_rng(0).normal(size=(500, 2))
    values = 1 / (1 + np.exp(-(table @ [1.5, -0.5] + 0.3)))
    assert np.allclose(fit_logistic(table, values), [1.5, -0.5, 0.3], atol=0.01)


def test_an_object_is_compared_with_the_true_one_that_it_overlaps_most():
    truth = np.zeros((6, 8), np.int32)
    truth[:, :4], truth[:, 4:] = 1, 2
    found = np.zeros((6, 8), np.int32)
    found[:, 3:8] = 1
    assert best_overlaps(found, truth, 1).tolist() == [pytest.approx(24 / 30)]
