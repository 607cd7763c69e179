"""Training loops of other libraries, fed by a store."""

from __future__ import annotations

import numpy as np
import pytest

from mmtk.loader import Batches, SplitDataset


def scaled(image):
    """An image as a network takes it; at the top, so that it can be sent to a worker."""
    return image.float() / 127.5 - 1


def network(pixels=64):
    """As small as can be, and the same each time."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(pixels, 2))


def scores_of(model, split):
    """What the network says of all images of a split, by mmtk's own batches."""
    import torch

    with torch.no_grad():
        return torch.cat([model(images) for images, _ in Batches(split, 7, dtype="float32")]).numpy()


def splits(opened, *names):
    return [SplitDataset(opened.path, name, transform=scaled) for name in names]


def drop_ins(opened, *names):
    """The splits as medmnist's classes give them."""
    import torch

    from mmtk.compat import medmnist

    class Small(medmnist.BreastMNIST):
        available_sizes = (opened.info.size,)

    def ready(picture):
        return scaled(torch.from_numpy(np.array(picture)))[None]

    return [Small(name, root=opened.path.parent, size=opened.info.size, transform=ready) for name in names]


def test_fastai_fits_and_predicts(small):
    pytest.importorskip("fastai", reason="fastai is not installed")
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat

    train, val = splits(small, "train", "val")
    loaders = DataLoaders.from_dsets(train, val, bs=5, num_workers=0, device="cpu")
    model = network()
    learner = Learner(loaders, model, loss_func=CrossEntropyLossFlat(), path=small.path.parent)
    before = scores_of(model, small.val)
    with learner.no_logging():
        learner.fit(1, lr=0.1)
        scores, targets = learner.get_preds(act=lambda logits: logits)
    np.testing.assert_array_equal(targets.numpy(), small.val.labels[:, 0])
    np.testing.assert_allclose(scores.numpy(), scores_of(model, small.val), atol=1e-5)
    assert abs(scores.numpy() - before).max() > 1e-3


def test_transformers_trainer_trains_and_predicts(small, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed; transformers' Trainer needs it")
    import torch

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network()

        def forward(self, pixel_values, labels):
            logits = self.body(pixel_values)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    def collate(items):
        images, labels = zip(*items, strict=True)
        return {"pixel_values": torch.stack(images), "labels": torch.stack(labels)}

    train, test = splits(small, "train", "test")
    settings = transformers.TrainingArguments(
        str(tmp_path / "trainer"), max_steps=3, per_device_train_batch_size=5, use_cpu=True, report_to=[],
        save_strategy="no", disable_tqdm=True, learning_rate=0.1,
    )
    model = Classifier()
    before = scores_of(model.body, small.test)
    trainer = transformers.Trainer(model=model, args=settings, train_dataset=train, data_collator=collate)
    trainer.train()
    told = trainer.predict(test)
    np.testing.assert_array_equal(told.label_ids, small.test.labels[:, 0])
    np.testing.assert_allclose(told.predictions, scores_of(model.body, small.test), atol=1e-5)
    assert abs(told.predictions - before).max() > 1e-3


def test_accelerate_prepares_a_loader(small):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    import torch

    data = SplitDataset(small.path, "train")
    accelerator = accelerate.Accelerator(cpu=True)
    model = network()
    model, optimizer, loader = accelerator.prepare(
        model, torch.optim.SGD(model.parameters(), 0.1), torch.utils.data.DataLoader(data, 6, collate_fn=data.collate)
    )
    seen, before = [], model[1].weight.detach().clone()
    for images, labels in loader:
        accelerator.backward(torch.nn.functional.cross_entropy(model(scaled(images)), labels))
        optimizer.step()
        optimizer.zero_grad()
        seen.append(accelerator.gather_for_metrics(labels))
    np.testing.assert_array_equal(torch.cat(seen).numpy(), small.train.labels[:, 0])
    assert not torch.equal(before, model[1].weight)


@pytest.mark.parametrize("source", ["from_datasets", "drop-in", "Batches"])
def test_lightning_sees_every_image_once(small, source):
    lightning = pytest.importorskip("lightning", reason="Lightning is not installed")
    import torch

    class Counts(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.body, self.batches, self.labels = network(), 0, []

        def training_step(self, batch, index):
            images, labels = batch
            labels = labels.flatten()  # the drop-in's are columns, as medmnist's are
            self.batches += 1
            self.labels += labels.tolist()
            return torch.nn.functional.cross_entropy(self.body(images), labels)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    if source == "Batches":
        loaders = {"train_dataloaders": Batches(small.train, 8, shuffle=True, dtype="float32")}
    else:
        train, val = splits(small, "train", "val") if source == "from_datasets" else drop_ins(small, "train", "val")
        loaders = {"datamodule": lightning.LightningDataModule.from_datasets(train, val, batch_size=8)}
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0,
    )
    model = Counts()
    trainer.fit(model, **loaders)
    assert model.batches == 3
    assert sorted(model.labels) == sorted(small.train.labels[:, 0].tolist())


@pytest.mark.parametrize("source", [splits, drop_ins])
def test_skorch_fits_a_split(small, source):
    skorch = pytest.importorskip("skorch", reason="skorch is not installed")
    import torch

    train, test = source(small, "train", "test")
    if source is drop_ins:
        for data in (train, test):
            data.target_transform = lambda label: label[0]
    net = skorch.NeuralNetClassifier(
        network, criterion=torch.nn.CrossEntropyLoss, max_epochs=2, lr=0.1, batch_size=5, train_split=None, verbose=0,
        classes=[0, 1],
    )
    net.fit(train, y=None)
    told = net.predict_proba(test)
    expected = torch.from_numpy(scores_of(net.module_, small.test)).softmax(1)
    np.testing.assert_allclose(told, expected, atol=1e-5)
    assert len(net.history) == 2
    assert net.history[1]["train_loss"] < net.history[0]["train_loss"]
