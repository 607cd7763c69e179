"""The parts of a step: what losses and scores mean, averaged weights, replayed steps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mmtk.training import get_protocol
from tests.small_stores import MULTILABEL, small_info

torch = pytest.importorskip("torch", reason="torch is not installed")

from mmtk.training import _steps  # noqa: E402
from mmtk.training._averaging import Average  # noqa: E402
from mmtk.training._objectives import Objective  # noqa: E402

PLAIN = get_protocol("isbi21")


def objective(task, classes=4, **fields):
    return Objective(small_info(task=task, classes=classes), replace(PLAIN, **fields))


@pytest.mark.parametrize("loss", ["cross entropy", "emd", "cumulative"])
def test_ordinal_scores_are_a_distribution_over_grades_that_the_loss_makes_right(loss):
    goal = objective("ordinal-regression", ordinal_loss=loss)
    torch.manual_seed(0)
    labels = torch.tensor([0, 1, 2, 3, 3])
    logits = torch.randn(5, goal.outputs, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        goal.loss(logits, labels).backward()
        optimiser.step()
    scores = goal.scores(logits)
    assert scores.shape == (5, 4)
    assert (scores >= 0).all()
    torch.testing.assert_close(scores.sum(1), torch.ones(5))
    assert scores.argmax(1).tolist() == labels.tolist()
    assert goal.loss(logits, labels) < 0.1


def test_earth_movers_distance_by_hand():
    goal = objective("ordinal-regression", ordinal_loss="emd")
    sure = torch.full((1, 4), -100.0)
    sure[0, 0] = 100
    assert [float(goal.loss(sure, torch.tensor([grade]))) for grade in range(4)] == [0, 1, 2, 3]


def test_cumulative_loss_by_hand():
    goal = objective("ordinal-regression", ordinal_loss="cumulative")
    logits = torch.tensor([[math.log(3.0), 0.0, math.log(1 / 3)]])  # above: 3/4, then 1/2, then 1/4 of those
    torch.testing.assert_close(goal.scores(logits), torch.tensor([[0.25, 0.375, 0.28125, 0.09375]]))
    for grade, score in enumerate(goal.scores(logits)[0]):
        torch.testing.assert_close(goal.loss(logits, torch.tensor([grade])), -score.log())


def test_other_tasks_are_not_asked_for_an_order_and_labels_are_not_smoothed():
    logits, labels = torch.randn(3, 4), torch.tensor([0, 1, 2])
    plain = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.2)
    assert torch.equal(objective("multi-class", ordinal_loss="emd", label_smoothing=0.2).loss(logits, labels), plain)
    several = torch.ones(3, 4)
    goal = objective(MULTILABEL, ordinal_loss="emd", label_smoothing=0.2)
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, several)
    assert torch.equal(goal.loss(logits, several), plain)
    assert torch.equal(goal.scores(logits), logits.sigmoid())


def test_the_average_forgets_by_e_in_its_epochs_and_takes_statistics_with_it():
    model = torch.nn.BatchNorm1d(2)
    average = Average(model, 2.0, 5)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.running_mean.fill_(1.0)
        average.update(first=True)
        model.weight.zero_()
        model.running_mean.zero_()
        model.num_batches_tracked.fill_(7)
        for _ in range(10):
            average.update(first=False)
    for found in (average.model.weight, average.model.running_mean):
        torch.testing.assert_close(found, torch.full((2,), math.exp(-1)))
    assert int(average.model.num_batches_tracked) == 7
    assert not average.model.weight.requires_grad


class Recorder:
    """Stands in for CUDA graphs: repeats the step on the tensors that it was recorded with."""

    def __init__(self, fails=False):
        self.fails, self.warmed, self.replays = fails, 0, 0

    def warm_up(self, step, images, labels):
        self.warmed += 1
        return step(images, labels)

    def record(self, step, images, labels):
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        loss = torch.zeros(())

        def replay():
            self.replays += 1
            loss.copy_(step(images, labels))

        return replay, loss


@pytest.mark.parametrize("fails", [False, True])
def test_replayed_steps_are_the_steps(fails):
    def losses(wrap):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        optimiser = _steps.make_optimiser(model, PLAIN, "cpu")
        step = wrap(_steps.plain_step(model, objective("binary-class", 2), optimiser))
        found = []
        for number, size in enumerate([8, 8, 3, 8, 8, 8, 3, 8]):
            _steps.set_rate(optimiser, 0.1 * (number + 1))
            images = torch.randn(size, 1, 2, 2)
            found.append(float(step(images, images[:, 0, 0, 0].gt(0).long())))
        return found

    recorder = Recorder(fails)
    replayed = []
    found = losses(lambda step: replayed.append(_steps.ReplayedStep(step, recorder)) or replayed[0])
    assert found == losses(lambda step: step)
    assert recorder.warmed == 3
    assert recorder.replays == (0 if fails else 3)
    assert replayed[0].recorded is not fails


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
def test_weights_decay_and_offsets_do_not(optimiser):
    model = torch.nn.Linear(2, 2)

    def groups(decay):
        protocol = replace(PLAIN, optimiser=optimiser, weight_decay=decay)
        made = _steps.make_optimiser(model, protocol, "cpu").param_groups
        return [([p.ndim for p in group["params"]], group["weight_decay"]) for group in made]

    assert groups(0.1) == [([2], 0.1), ([1], 0.0)]
    assert groups(0.0) == [([2, 1], 0.0)]


def test_volumes_are_given_from_0_to_1_and_enlarged_along_every_axis():
    seen = []
    model = torch.nn.Module()
    model.forward = lambda images: seen.append(images) or images.mean((2, 3, 4))
    levels = torch.arange(256, dtype=torch.uint8).repeat(2).view(1, 1, 8, 8, 8)
    for enlarge, mode in (("bilinear", "trilinear"), ("nearest", "nearest")):
        for resolution in (8, 12):
            _steps.Network(model, resolution, replace(PLAIN, enlarge=enlarge), "float32")(levels)
            whole = levels.float() / 255
            expected = torch.nn.functional.interpolate(whole, (resolution,) * 3, mode=mode)
            assert torch.equal(seen[-1], whole if resolution == 8 else expected)
    _steps.Network(model, 8, replace(PLAIN, as_rgb=True), "float32")(levels)
    assert seen[-1].shape == (1, 3, 8, 8, 8)


@pytest.mark.parametrize("enlarge", ["nearest", "bilinear"])
def test_images_are_enlarged_as_published(enlarge):
    """To 224 px: as Pillow, which rounds to whole levels after each pass."""
    from PIL import Image

    seen = []
    model = torch.nn.Module()
    model.forward = lambda images: seen.append(images) or images.mean((2, 3))
    network = _steps.Network(model, 224, replace(PLAIN, enlarge=enlarge, as_rgb=True), "float32")
    levels = torch.randint(0, 256, (1, 1, 28, 28), dtype=torch.uint8)
    network(levels.float() / 127.5 - 1)
    picture = Image.fromarray(levels[0, 0].numpy())
    expected = picture.resize((224, 224), getattr(Image.Resampling, enlarge.upper()))
    found = (seen[0] + 1) * 127.5
    assert found.shape == (1, 3, 224, 224)
    error = np.abs(found[0].numpy() - np.asarray(expected))
    assert error.max() < (1e-3 if enlarge == "nearest" else 1.001)
