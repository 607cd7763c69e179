"""Two processes that torchrun starts train what one process trains on their joined batches."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mmtk
from mmtk.errors import ArgumentError, MmtkError
from mmtk.loader import Batches
from mmtk.scoring import read_predictions
from mmtk.training import checkpoints, get_protocol
from tests.commands import run_python
from tests.small_stores import write_small_store

torch = pytest.importorskip("torch", reason="torch is not installed")

from mmtk.training import build_model  # noqa: E402
from mmtk.training._distributed import World  # noqa: E402

OWN = 'base = "isbi21"\nname = "own"\nbatch_size = 8\nlearning_rate = 0.01\n'


def torchrun(*arguments):
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mmtk"]
    return run_python(*start, *arguments, env={"OMP_NUM_THREADS": "1"})


def by_halves(store, epochs):
    """One process: each half of a batch has statistics of its own, their mean loss is followed."""
    protocol = get_protocol("isbi21")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("resnet18", 1, 2, ndim=store.info.ndim).train()
    if store.info.ndim == 2:
        model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=protocol.momentum)
    losses = []
    for images, labels in epochs_of(store.train, epochs):
        halves = [torch.nn.functional.cross_entropy(model(images[r::2]), labels[r::2]) for r in (0, 1)]
        loss = sum(halves) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item() * len(images))
    return model, np.reshape(losses, (epochs, -1)).sum(axis=1) / len(store.train)


def epochs_of(split, epochs):
    batches = Batches(split, 8, shuffle=True, dtype="float32")
    for _ in range(epochs):
        yield from batches


@pytest.mark.parametrize(("size", "ndim"), [(28, 2), (8, 3)], ids=["images", "volumes"])
def test_two_processes_give_the_losses_of_one_with_statistics_per_half(tmp_path, size, ndim):
    path = write_small_store(tmp_path / f"breastmnist_{size}.h5", (20, 8, 9), size=size, ndim=ndim)
    (tmp_path / "own.toml").write_text(OWN)
    arguments = ["train", path, "--protocol", tmp_path / "own.toml", "--model", "resnet18", "--epochs", 2]
    done = torchrun(*arguments, "--out", tmp_path / "run", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("breastmnist: resnet18, own, seed 0") == 1
    opened = mmtk.open(path)
    model, losses = by_halves(opened, 2)
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["train_loss"] for line in log] == pytest.approx(losses, rel=1e-5)
    weights = checkpoints.load(tmp_path / "run" / "last.pt")["model"]
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(weights[name], parameter.detach(), rtol=1e-3, atol=1e-5)

    model.load_state_dict(checkpoints.load(tmp_path / "run" / "best.pt"))
    with torch.inference_mode():
        images = torch.from_numpy(opened.test.images.copy())[:, None] / 127.5 - 1
        expected = model.eval()(images).softmax(1)
    found = read_predictions(next((tmp_path / "run").glob("*_test_*.csv"))).scores
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_the_first_process_is_refused_all_are(monkeypatch):
    sent = []

    def broadcast(said, device):
        if said == [None, None]:
            said[:] = sent[0]
        sent.append(list(said))

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)

    def refuse():
        raise MmtkError("run", found="another process training in it")

    for rank in (0, 1):
        with pytest.raises(MmtkError, match="another process training in it"):
            World(rank, 2, "cpu").on_main(refuse)
    sent.clear()
    assert [World(rank, 2, "cpu").on_main(lambda rank=rank: f"said by {rank}") for rank in (0, 1)] == ["said by 0"] * 2


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path):
    from mmtk.training import _fit

    opened = mmtk.open(write_small_store(tmp_path / "s.h5"))
    with pytest.raises(ArgumentError, match="3 processes cannot share batches of 128"):
        _fit._Run(
            opened, get_protocol("isbi21"), "resnet18", tmp_path, 0, 1, 8, "float32", World(0, 3, "cpu")
        )
