"""The models have the published shapes and torchvision's layers; protocols are those of FACTS."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace

import pytest

from mmtk import store
from mmtk.datasets import TEN
from mmtk.errors import ArgumentError, MmtkError
from mmtk.runs import TABLE_2, counterpart
from mmtk.training import PROTOCOLS, get_protocol
from tests.commands import run_python
from tests.small_stores import write_small_store

torch = pytest.importorskip("torch", reason="torch is not installed")

from mmtk.training import MODELS, build_model, models  # noqa: E402

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


# of the weights that mmtk 0.1.0 drew, and the number that its generator gave next
DRAWN = {
    ("resnet18", 1, 28, 0): ("fce83c3fbd34f094", 0.15049034357070923),
    ("resnet18", 3, 28, 7): ("6a0f9a4b0c7c7f90", 0.3545798659324646),
    ("resnet18", 1, 224, 7): ("c05361dedf458429", 0.5348493456840515),
    ("resnet18", 3, 224, 0): ("b7f278a3169b5204", 0.9212586879730225),
    ("resnet50", 1, 28, 7): ("75e0411039fe731b", 0.940125584602356),
    ("resnet50", 3, 28, 0): ("fca85bf634fd060e", 0.48800235986709595),
    ("resnet50", 1, 224, 0): ("304b63c698741319", 0.7230219841003418),
    ("resnet50", 3, 224, 7): ("345b2fab42832709", 0.7047734260559082),
}


@pytest.mark.parametrize(("name", "channels", "resolution", "seed"), list(DRAWN))
def test_a_seed_gives_the_weights_it_always_gave(name, channels, resolution, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(name, channels, 5, resolution)
        following = torch.rand(1).item()
    digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())).hexdigest()
    assert (digest[:16], following) == DRAWN[name, channels, resolution, seed]
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())


@pytest.mark.parametrize("size", [128, 224])
def test_large_images_have_the_stem_of_torchvision(size):
    theirs = models.torchvision_models().resnet18(num_classes=2)
    ours = build_model("resnet18", 3, 2, size)
    assert str(ours) == str(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())


@pytest.mark.parametrize("size", [28, 64])
def test_small_images_have_a_stem_that_halves_nothing(size):
    model = build_model("resnet18", 1, 2, size)
    assert str(model.conv1) == "Conv2d(1, 64, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)"
    assert isinstance(model.maxpool, torch.nn.Identity)
    with torch.inference_mode():
        images = torch.zeros(1, 1, size, size)
        assert model.maxpool(model.conv1(images)).shape == (1, 64, size, size)


@pytest.mark.parametrize("name", list(CIFAR))
@pytest.mark.parametrize(("resolution", "edge", "inner"), [(28, 3, 28), (64, 3, 64), (80, 7, 20)])
def test_volumes_have_cubic_kernels_in_the_places_of_square_ones(name, resolution, edge, inner):
    flat, deep = (build_model(name, 1, 11, resolution, ndim) for ndim in (2, 3))
    assert str(flat).replace("2d", "3d").count("3d(") == str(deep).count("3d(") > 40
    assert "2d" not in str(deep)
    expected = sum(p.numel() * (p.shape[-1] if p.ndim == 4 else 1) for p in flat.parameters())
    assert sum(p.numel() for p in deep.parameters()) == expected
    assert list(deep.state_dict()) == list(flat.state_dict())
    assert deep.conv1.weight.shape == (64, 1, edge, edge, edge)
    assert deep.conv1.stride == (flat.conv1.stride[0],) * 3
    with torch.device("meta"):  # shapes alone
        seen = deep.to("meta").eval()
        stem = seen.maxpool(seen.conv1(torch.zeros(2, 1, *[resolution] * 3)))
        assert stem.shape == (2, 64, inner, inner, inner)
        last = -(-inner // 8)
        assert seen.layer4(seen.layer3(seen.layer2(seen.layer1(stem)))).shape[2:] == (last, last, last)
        assert seen(torch.zeros(2, 1, *[resolution] * 3)).shape == (2, 11)


def test_weights_of_volumes_start_from_pytorch_defaults_and_a_seed():
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(build_model("resnet18", 1, 2, 8, 3))
    first, second = (torch.cat([p.flatten() for p in model.parameters()]) for model in drawn)
    assert torch.equal(first, second)
    conv = drawn[0].layer3[0].conv2.weight
    bound = 1 / (conv.shape[1] * 27) ** 0.5
    assert 0.99 * bound < conv.abs().max() <= bound


def test_a_missing_torchvision_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MmtkError, match=r"the package torchvision, .* pip install 'mmtk\[train\]'"):
        build_model("resnet18", 1, 2)


def test_unknown_model_and_protocol_are_named():
    with pytest.raises(ArgumentError, match=r"model vgg: .*resnet18, resnet50"):
        build_model("vgg", 1, 2)
    with pytest.raises(ArgumentError, match=r"isbi22: .*did you mean isbi21"):
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


def test_v2_of_volumes_is_the_protocol_of_their_own_script():
    p = get_protocol("v2").for_ndim(3)
    assert (p.name, p.optimiser, p.learning_rate, p.batch_size, p.epochs) == ("v2", "adam", 1e-3, 32, 100)
    assert [p.rate(step, 5, 100) for step in (249, 250, 375)] == pytest.approx([1e-3, 1e-4, 1e-5])
    assert (p.channels(1), p.input) == (1, "from 0 to 1")
    assert p.facts()["input"] == "from 0 to 1"
    for protocol in PROTOCOLS:
        assert protocol.for_ndim(2) == protocol
        assert (protocol.for_ndim(3) == protocol) == (protocol.name != "v2")
        assert "input" not in protocol.facts(), "which runs of earlier versions do not have"
    shorter = replace(get_protocol("v2"), milestones=[0.5])  # a list, which has no hash
    assert shorter.for_ndim(3) is shorter


def test_published_rows_have_the_means_of_the_paper():
    means = {
        "ResNet-18 (28)": (0.9061, 0.8059), "ResNet-18 (224)": (0.9115, 0.8184),
        "ResNet-50 (28)": (0.8996, 0.8021), "ResNet-50 (224)": (0.9037, 0.8147),
    }
    assert set(means) == {f"{model.title} ({size})" for model in MODELS for size in (28, 224)}
    for kind in means:
        rows = TABLE_2[kind]
        assert set(rows) == set(TEN)
        for column, mean in enumerate(means[kind]):
            assert sum(row[column] for row in rows.values()) / 10 == pytest.approx(mean, abs=5e-5)


@pytest.mark.parametrize(
    ("method", "row"),
    [("sklearn", "auto-sklearn"), ("autosklearn", "auto-sklearn"), ("autokeras", "AutoKeras"),
     ("tflite-phone", "Google AutoML Vision"), ("flaml", None), ("sklearn2", None)],
)
def test_methods_stand_beside_the_row_of_the_tool_that_they_follow(tmp_path, method, row):
    info = store.open(write_small_store(tmp_path / "s.h5", size=28)).info
    for marked in (replace(info, synthetic=True), replace(info, partial=True), replace(info, flag="own")):
        assert counterpart(marked, {"method": method}) is None
    found = counterpart(replace(info, pixels="imported"), {"method": method})
    assert found == (row and (row, TABLE_2[row]["breastmnist"]))
    assert counterpart(info, {"model": "resnet18", "protocol": "isbi21"}) is None


def test_the_room_does_not_import_torch():
    code = "import sys, mmtk.training, mmtk.cli.training; sys.exit(bool({'torch', 'torchvision'} & set(sys.modules)))"
    run_python("-c", code, code=0)
