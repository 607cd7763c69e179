"""The models have the published shapes and torchvision's names; protocols are those of FACTS."""

from __future__ import annotations

import pytest

from mmtk.datasets import list_datasets
from mmtk.errors import ArgumentError
from mmtk.runs import TABLE_2
from mmtk.training import PROTOCOLS, get_protocol
from tests import peers
from tests.commands import run_python

torch = pytest.importorskip("torch", reason="torch is not installed")

from mmtk.training import MODELS, build_model  # noqa: E402

# known for CIFAR (3 channels, 10 outputs): 11,173,962 and 23,520,842; the stem has 576 weights a channel
CIFAR = {"resnet18": (11_173_962, 512), "resnet50": (23_520_842, 2048)}


@pytest.mark.parametrize("name", list(CIFAR))
@pytest.mark.parametrize(("channels", "outputs"), [(1, 2), (3, 9), (1, 14)])
def test_parameters_and_output(name, channels, outputs):
    model = build_model(name, channels, outputs).eval()
    total, width = CIFAR[name]
    expected = total - 576 * (3 - channels) - (width + 1) * (10 - outputs)
    assert sum(p.numel() for p in model.parameters()) == expected
    with torch.inference_mode():
        assert model(torch.zeros(2, channels, 28, 28)).shape == (2, outputs)
        stem = model.conv1(torch.zeros(1, channels, 28, 28))
        assert stem.shape == (1, 64, 28, 28)
        stages = model.layer4(model.layer3(model.layer2(model.layer1(stem))))
        assert stages.shape == (1, width, 4, 4)


@pytest.mark.parametrize("name", list(CIFAR))
def test_weights_start_from_pytorch_defaults(name):
    torch.manual_seed(0)
    model = build_model(name, 1, 2)
    conv = model.layer3[0].conv2.weight
    bound = 1 / (conv.shape[1] * 9) ** 0.5
    assert 0.99 * bound < conv.abs().max() <= bound
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in model.modules() if hasattr(m, "running_mean"))


@pytest.mark.parametrize("name", list(CIFAR))
def test_equals_torchvision(name):
    peer = getattr(peers.torchvision().models, name)(num_classes=5)
    peer.conv1 = torch.nn.Conv2d(1, 64, 3, 1, 1, bias=False)
    peer.maxpool = torch.nn.Identity()
    model = build_model(name, 1, 5)
    assert list(model.state_dict()) == list(peer.state_dict())
    model.load_state_dict(peer.state_dict())
    images = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(model(images), peer(images), rtol=0, atol=0)


def test_unknown_model_and_protocol_are_named():
    with pytest.raises(ArgumentError, match="model vgg: expected one of resnet18, resnet50"):
        build_model("vgg", 1, 2)
    with pytest.raises(ArgumentError, match=r"isbi22: expected one of .*, or a \.toml or \.json file; did you mean"):
        get_protocol("isbi22")


def test_isbi21_is_the_published_protocol():
    p = get_protocol("isbi21")
    assert (p.optimiser, p.learning_rate, p.momentum, p.batch_size, p.epochs) == ("sgd", 1e-3, 0.9, 128, 100)
    assert set(PROTOCOLS.names) == {"isbi21", "v2", "tuned-v1", "quick"}
    assert {p.rate(step, 5, 100) for step in range(500)} == {1e-3}
    assert (p.channels(1), p.channels(3)) == (1, 3)


def test_v2_is_the_protocol_of_2021():
    p = get_protocol("v2")
    assert (p.optimiser, p.learning_rate, p.batch_size, p.epochs) == ("adam", 1e-3, 128, 100)
    rates = [p.rate(step, 5, 100) for step in (0, 249, 250, 374, 375, 499)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])
    assert (p.channels(1), p.channels(3)) == (3, 3)


def test_published_rows_have_the_means_of_the_paper():
    means = {
        "ResNet-18 (28)": (0.9061, 0.8059), "ResNet-18 (224)": (0.9115, 0.8184),
        "ResNet-50 (28)": (0.8996, 0.8021), "ResNet-50 (224)": (0.9037, 0.8147),
    }
    assert set(means) == {f"{model.title} ({size})" for model in MODELS for size in (28, 224)}
    for kind in means:
        rows = TABLE_2[kind]
        assert set(rows) == {dataset.flag for dataset in list_datasets()}
        for column, mean in enumerate(means[kind]):
            assert sum(row[column] for row in rows.values()) / 10 == pytest.approx(mean, abs=5e-5)


def test_the_room_does_not_import_torch():
    code = "import sys, mmtk.training, mmtk.cli.training; sys.exit('torch' in sys.modules)"
    run_python("-c", code, code=0)
