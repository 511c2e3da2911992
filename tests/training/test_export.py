"""What runs without torch is what was trained."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs torch; the package does not")

from torch import nn  # noqa: E402

from napari_sam3.engines.builtin.nets import dense_net as dense_module  # noqa: E402
from napari_sam3.engines.builtin.nets.dense_net import dense_maps, run_dense_net  # noqa: E402
from napari_sam3.engines.builtin.nets.layers import weights  # noqa: E402
from napari_sam3.engines.builtin.nets.planes import DENSE_PLANES, PROMPT_PLANES  # noqa: E402
from napari_sam3.engines.builtin.nets.prompt_net import run_prompt_net  # noqa: E402
from tests.tiers import examples  # noqa: E402
from training.calibrate import fit_logistic  # noqa: E402
from training.export import arrays_of, exported, weights_of  # noqa: E402
from training.losses import dice_loss, overlaps  # noqa: E402
from training.nets import Conv, DenseNet, PromptNet  # noqa: E402

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


def half_precision(name, net):
    return weights_of(arrays_of({name: net}), name)


def in_torch(net, shipped):
    """Return a net with weights as they are shipped: batch norm folded, half precision.

    What is left to compare is the arithmetic: rounding changes logits by more than that.
    """
    copied = copy.deepcopy(net)
    inside = set()
    for name, module in net.named_modules():
        if name in inside or not isinstance(module, Conv | nn.Conv2d | nn.Linear):
            continue
        plain = module
        if isinstance(module, Conv):
            inside |= {f"{name}.0", f"{name}.1"}
            old = module[0]
            plain = nn.Conv2d(
                old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding
            )
            copied.get_submodule(name)[0] = plain
            copied.get_submodule(name)[1] = nn.Identity()
        else:
            plain = copied.get_submodule(name)
        weight, bias = (torch.from_numpy(values) for values in shipped.pair(name))
        plain.weight, plain.bias = nn.Parameter(weight), nn.Parameter(bias)
    return copied.eval()


def close(found, expected):
    return np.abs(found - expected.numpy()).max() < CLOSE


@pytest.fixture(scope="module", params=["any weights", "shipped weights"])
def prompt_nets(request):
    """The same net without torch and with it."""
    torch.manual_seed(0)
    net = with_experience(PromptNet(), torch.randn(3, PROMPT_PLANES, 64, 64))
    own = half_precision("prompt", net) if request.param == "any weights" else weights("prompt")
    return own, in_torch(net, own)


@pytest.fixture(scope="module", params=["any weights", "shipped weights"])
def dense_nets(request):
    """The same net without torch and with it."""
    torch.manual_seed(0)
    net = with_experience(DenseNet(), torch.randn(2, DENSE_PLANES, 64, 96))
    own = half_precision("dense", net) if request.param == "any weights" else weights("dense")
    return own, in_torch(net, own)


def test_batch_norm_is_folded_in():
    torch.manual_seed(0)
    planes = torch.randn(3, PROMPT_PLANES, 64, 64)
    net = with_experience(PromptNet(), planes)
    exact = weights_of(arrays_of({"prompt": net}, np.float32), "prompt")
    logits, judged = run_prompt_net(exact, planes.numpy())
    with torch.no_grad():
        expected, expected_judged = net(planes)
    assert close(logits, expected)
    assert close(judged, expected_judged)


# one more than a batch, and one fewer than two of them
@pytest.mark.parametrize("count", [1, 3, 17, 31])
def test_the_prompt_net_answers_as_in_training(prompt_nets, count):
    torch.manual_seed(count)
    planes = torch.randn(count, PROMPT_PLANES, 64, 64)
    own, net = prompt_nets
    logits, judged = run_prompt_net(own, planes.numpy())
    with torch.no_grad():
        expected, expected_judged = net(planes)
    assert close(logits, expected)
    assert close(judged, expected_judged)
    assert close(1 / (1 + np.exp(-judged)), torch.sigmoid(expected_judged))


@given(rows=st.integers(1, 13), cols=st.integers(1, 13), seed=st.integers(0, 2**31 - 1))
@examples(25)
def test_the_dense_net_answers_as_in_training_at_any_size(dense_nets, rows, cols, seed):
    torch.manual_seed(seed)
    planes = torch.randn(1, DENSE_PLANES, 8 * rows, 8 * cols)
    own, net = dense_nets
    maps = run_dense_net(own, planes[0].numpy())
    with torch.no_grad():
        assert close(maps, net(planes)[0])


@given(shape=st.tuples(st.integers(9, 120), st.integers(9, 120)), diameter=st.floats(6, 60))
@settings(max_examples=15, deadline=None)
def test_maps_of_a_picture_of_odd_sides_are_those_of_training(dense_nets, shape, diameter):
    rgb = np.random.default_rng(shape).integers(0, 255, (*shape, 3), dtype=np.uint8)
    own, net = dense_nets
    asked = []

    def run_in_torch(weights, planes):
        asked.append(planes.shape)
        with torch.no_grad():
            return net(torch.from_numpy(np.ascontiguousarray(planes))[None])[0].numpy()

    found = dense_maps(rgb, diameter, own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense_module, "run_dense_net", run_in_torch)
        expected = dense_maps(rgb, diameter, own)
    assert asked
    for name in ("foreground", "distance", "size"):
        one, other = (np.asarray(getattr(maps, name), np.float32) for maps in (found, expected))
        # maps are kept in half precision, which may round either way
        assert np.all(np.abs(one - other) <= CLOSE * np.maximum(1, np.abs(other)))


def test_the_shipped_weights_fit_the_nets_that_are_trained():
    torch.manual_seed(0)
    for name, net in (("prompt", PromptNet()), ("dense", DenseNet())):
        shipped = weights(name)
        for layer, values in exported(net):
            index = 0 if layer.endswith(".weight") else 1
            assert shipped.pair(layer.rpartition(".")[0])[index].shape == tuple(values.shape)


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
