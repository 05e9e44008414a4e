"""The networks that plans name: size, clamped input, and how nnU-Net builds and switches them."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from maseg_nnunet.errors import PlanError
from maseg_nnunet.network import PlainConvUNet, UNet

SMALL = (4, 8, 16)
STRIDES = [[1, 1], [2, 2], [2, 2]]


def plain(deep_supervision: bool = False) -> PlainConvUNet:
    return PlainConvUNet(
        input_channels=1,
        n_stages=3,
        features_per_stage=SMALL,
        conv_op=nn.Conv2d,
        kernel_sizes=3,
        strides=[1, 2, 2],
        n_conv_per_stage=1,
        num_classes=3,
        n_conv_per_stage_decoder=1,
        norm_op=nn.BatchNorm2d,
        norm_op_kwargs={},
        nonlin=nn.ReLU,
        nonlin_kwargs={},
        deep_supervision=deep_supervision,
    )


def test_the_paper_s_network_has_the_paper_s_size() -> None:
    network = UNet(1, 3)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert sum(c.kernel_size == (3, 3) for c in convolutions) == 2 * 9
    assert sum(c.kernel_size == (1, 1) for c in convolutions) == 4 + 1
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 18
    assert max(c.out_channels for c in convolutions) == 1024
    assert network.decoder.head[1].p == 0.5
    # At four bytes a parameter, the size is that of the published checkpoint.
    assert 4 * sum(p.numel() for p in network.state_dict().values()) == pytest.approx(115_914_202, rel=5e-3)


@pytest.mark.parametrize("make", [lambda: UNet(1, 3, features_per_stage=SMALL), plain], ids=["paper", "plain"])
def test_the_input_is_clamped(make) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    network = make().eval()
    image = torch.linspace(-1, 2, 16 * 16).view(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(network(image), network(image.clamp(0, 1)))
        assert not torch.equal(network(image), network(image.clamp(0.2, 1)))


@pytest.mark.parametrize("size", [(16, 16), (17, 22), (31, 4)])
def test_any_size_comes_back(size: tuple[int, int]) -> None:
    network = UNet(1, 3, features_per_stage=SMALL).eval()
    with torch.no_grad():
        assert network(torch.rand(2, 1, *size)).shape == (2, 3, *size)


def test_dropout_works_on_the_logits_in_training_alone() -> None:
    torch.manual_seed(0)
    network = UNet(1, 3, features_per_stage=SMALL)
    image = torch.rand(1, 1, 32, 32)
    share = (network.train()(image) == 0).float().mean().item()
    assert 0.4 < share < 0.6
    assert (network.eval()(image) != 0).all()


def test_weights_are_kaiming_uniform() -> None:
    network = UNet(1, 3, features_per_stage=(32, 64))
    network.apply(network.initialize)
    weight = network.encoder[1][0].weight
    bound = math.sqrt(6 / (32 * 9))
    assert 0.98 * bound < weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not network.encoder[1][0].bias.any()


@pytest.mark.parametrize("make", [lambda ds: UNet(1, 3, ds, SMALL), plain], ids=["paper", "plain"])
def test_deep_supervision_is_switched_as_nnunet_does(make) -> None:  # type: ignore[no-untyped-def]
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class Holder:
        is_ddp = False
        network = make(False)

    image = torch.rand(1, 1, 16, 16)
    for enabled in (True, False):
        nnUNetTrainer.set_deep_supervision_enabled(Holder, enabled)  # type: ignore[arg-type]
        output = Holder.network(image)
        assert isinstance(output, list) is enabled
        assert (output[0] if enabled else output).shape == (1, 3, 16, 16)
    assert isinstance(make(True)(image), list)


def test_nnunet_builds_both_from_a_plan_by_their_dotted_names() -> None:
    network = get_network_from_plans(
        "maseg_nnunet.network.UNet", {"features_per_stage": list(SMALL), "strides": STRIDES}, [], 1, 3, True, False
    )
    assert type(network) is UNet
    assert network(torch.rand(1, 1, 16, 16)).shape == (1, 3, 16, 16)


def test_the_plain_network_keeps_nnunet_s_state_dict() -> None:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet as Stock

    ours = plain()
    stock = Stock(
        1, 3, SMALL, nn.Conv2d, 3, [1, 2, 2], 1, 3, 1, False, nn.BatchNorm2d, {}, nonlin=nn.ReLU, nonlin_kwargs={}
    )
    stock.load_state_dict(ours.state_dict())
    image = torch.rand(1, 1, 16, 16)
    assert torch.equal(stock.eval()(image), ours.eval()(image))


@pytest.mark.parametrize("strides", [STRIDES[:2], [[2, 2], [2, 2], [2, 2]], [[1, 1], [2, 2], [2, 1]]])
def test_strides_that_do_not_fit_are_refused(strides: list[list[int]]) -> None:
    with pytest.raises(PlanError, match="needs the strides"):
        UNet(1, 3, features_per_stage=SMALL, strides=strides)


@pytest.mark.parametrize("make", [lambda: UNet(1, 3, features_per_stage=SMALL), plain], ids=["paper", "plain"])
def test_gray_values_instead_of_voi_units_are_warned_of(make) -> None:  # type: ignore[no-untyped-def]
    network, units = make().eval(), torch.rand(1, 1, 16, 16) * 1.2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network(units)
        network(torch.zeros(1, 1, 16, 16))
        network.train()(units * 255)
    gray = torch.where(torch.rand(1, 1, 16, 16) < 0.6, 0, units * 255)  # more than half is background
    with pytest.warns(UserWarning, match="not in VOI units"):
        network.eval()(gray)
