"""AutoKeras as a command: up to 20 trials of 20 epochs, the best by validation AUC.

    python autokeras.py FOLDER

FOLDER holds ``task.json``, ``train.npz``, ``val.npz`` and ``test.npz`` as mmtk writes them for a command. Each trial
that is better than all earlier ones writes ``scores_train.npy``, ``scores_val.npy`` and ``scores_test.npy`` there
immediately, so that the best model so far counts whenever the search ends. Started again in the same folder, the search
resumes after the last finished trial.

Needs autokeras 3.0.0, keras 3.8 or later but before 3.13, six, and torch, but not mmtk.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

sys.path[:] = [place for place in sys.path if Path(place) != Path(__file__).parent]  # this file has the package's name

BEGUN = time.monotonic()
TRIALS, EPOCHS, BATCH = 20, 20, 32  # as in the paper; the batch size is AutoKeras's own
PROJECT = "search"
OBJECTIVE = "val_AUC"  # of all columns together, as the paper's authors used it
KEPT = 0.95  # of the budget is used, so that mmtk need not end the search
SHARE = 0.5  # of the remaining budget for one trial, once another has written scores
PROBED = 8  # images of the forward pass from which a trial's time is estimated
BACKWARD = 3  # a training step takes about three forward passes
# Core seconds per image and training epoch, measured with torch 2.13 on two cores: for the first trial's network at
# 28 px and the second's, ResNet-50 at 224 px whatever the size of the images
SMALL, LARGE = 0.0026, 1.32
GPU = (5000, 300)  # images per second assumed for training either on a GPU: not measured


class SearchEnded(BaseException):
    """The search ends here; the current trial does not count, and is repeated if the search is resumed."""


def refuse(line: str) -> NoReturn:
    """Exit with a one-line error."""
    sys.exit(f"autokeras.py: {line}")


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Read the task, the images of each split and the labels of train and val."""
    task = json.loads((folder / "task.json").read_text())
    images, labels = {}, {}
    for split in task["images"]:
        with np.load(folder / f"{split}.npz") as held:
            images[split] = held["images"]
            if split != "test":
                labels[split] = held["labels"]
    return task, images, labels


def is_multi_label(task: dict[str, Any], labels: Any) -> bool:
    """Whether there is a column per label; otherwise there is one column of class numbers."""
    return bool(labels.shape[1] == len(task["classes"]))


def targets(task: dict[str, Any], labels: Any) -> Any:
    """Return a column per class or label, or one column for two classes, float32.

    AutoKeras renumbers integer labels, so a class missing from train would shift the others.
    """
    if is_multi_label(task, labels):
        return labels.astype(np.float32)
    if len(task["classes"]) == 2:
        return labels.reshape(-1, 1).astype(np.float32)
    return np.eye(len(task["classes"]), dtype=np.float32)[labels.ravel()]


def columns(task: dict[str, Any], scores: Any) -> Any:
    """Return scores with a column per class or label from the network's output."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.hstack([1 - scores, scores]) if scores.shape[1] == 1 and len(task["classes"]) == 2 else scores


def leave(folder: Path, scores: dict[str, Any]) -> None:
    """Write the scores of all splits, renaming them at the end, so that no file is ever incomplete."""
    for split, of_split in scores.items():
        with open(folder / f"scores_{split}.partial", "wb") as file:
            np.save(file, of_split)
    for split in scores:
        os.replace(folder / f"scores_{split}.partial", folder / f"scores_{split}.npy")


def prepare() -> None:
    """Set variables that Keras and torch read on import."""
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # busy-waiting threads would slow each other on shared cores


def estimate_cost(images: int, budget: float) -> str:
    """Describe what the search is expected to cost, in a few lines."""
    def duration(seconds: float) -> str:
        for below, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
            if seconds < below:
                return f"{seconds / unit:.0f} {name}"
        return f"{seconds / 86400:.0f} days"

    work = images * EPOCHS
    cores = [duration(work * constant / 2) for constant in (SMALL, LARGE)]
    gpu = [duration(work / rate) for rate in GPU]
    return (
        f"AutoKeras: up to {TRIALS} trials of {EPOCHS} epochs of {images:,} images, budget {budget:.0f} s.\n"
        f"On two cores the first trial, a small network, takes about {cores[0]}; the second, ResNet-50 at 224 px, about"
        f" {cores[1]} and 5 GB of memory (extrapolated from seconds per image measured on two cores). The total is"
        f" between {TRIALS} times the former and {TRIALS} times the latter.\n"
        f"On a GPU about {gpu[0]} and {gpu[1]} (not measured: assumes {GPU[0]:,} and {GPU[1]:,} images per second).\n"
        "A trial is skipped if not even one epoch fits into the remaining budget; a trial that runs out of time counts"
        " with its best epoch so far."
    )


def describe(values: dict[str, Any]) -> str:
    """Describe a trial's network from its hyperparameters."""
    kind = values.get("image_block_1/block_type", "?")
    block = {"resnet": "res_net", "efficient": "efficient_net", "vanilla": "conv"}.get(kind, kind)
    prefix = f"image_block_1/{block}_block_1/"
    words = [str(values.get(prefix + "version", kind))]
    if values.get(prefix + "version", "").startswith("b"):
        words[0] = f"EfficientNet-{words[0].upper()}"
    words += ["at 224 px"] if values.get(prefix + "imagenet_size") else []
    words += ["pretrained"] if values.get(prefix + "pretrained") else []
    return " ".join(words)


class Clock:
    """The remaining budget since the start of the process; SIGTERM sets it to zero."""

    def __init__(self, budget: float) -> None:
        self.end = BEGUN + KEPT * budget
        self.warned = False
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, number: int, frame: Any) -> None:
        self.warned = True
        self.end = time.monotonic()

    def left(self) -> float:
        return self.end - time.monotonic()


def searching(folder: Path, task: dict[str, Any], images: dict[str, Any], clock: Clock) -> type:
    """AutoKeras's own tuner of image classifiers with this clock; it writes scores as soon as there are any."""
    import keras
    from autokeras.tuners.task_specific import ImageClassifierTuner
    from keras_tuner.errors import FailedTrialError

    total = sum(map(len, images.values()))

    class Limit(keras.callbacks.Callback):  # type: ignore[misc]
        """Ends training when the trial's time is up, also within an epoch."""

        def __init__(self, end: float) -> None:
            super().__init__()
            self.end = end

        def __deepcopy__(self, memo: Any) -> Limit:
            return Limit(self.end)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if clock.warned and (folder / "scores_test.npy").exists():
                raise SearchEnded
            if time.monotonic() > min(self.end, clock.end):
                self.model.stop_training = True

    class Search(ImageClassifierTuner):  # type: ignore[misc]
        least = 0.0  # seconds for one epoch and the scores of the shortest trial so far

        def pre_create_trial(self) -> None:
            number = len(self.oracle.trials)
            if clock.left() <= self.least:
                raise SearchEnded
            keras.utils.set_random_seed(self.seed + number)  # for drawing the next trial: the same after a kill

        def on_search_end(self) -> None:
            raise SearchEnded  # scores are written; AutoKeras would rebuild the best network

        def on_trial_begin(self, trial: Any) -> None:
            super().on_trial_begin(trial)
            self.begun = time.monotonic()
            keras.utils.set_random_seed(self.seed + int(trial.trial_id))

        def run_trial(self, trial: Any, **kwargs: Any) -> Any:
            if any(value for name, value in trial.hyperparameters.values.items() if name.endswith("/pretrained")):
                raise FailedTrialError("its weights would have to be downloaded")
            best = self.best()
            forward = self.probe(trial)
            if clock.warned:
                raise SearchEnded
            epoch = forward * (BACKWARD * len(images["train"]) + len(images["val"]))
            scoring = 1.2 * forward * total
            allowed = clock.left() * (1 if best is None else SHARE)
            if epoch + scoring > allowed:
                raise FailedTrialError(
                    f"too slow for the remaining budget: an epoch takes about {epoch:.0f} s and scoring"
                    f" {scoring:.0f} s, but only {max(allowed, 0):.0f} s are available"
                )
            self.least = min(self.least or np.inf, epoch + scoring)
            limit = Limit(time.monotonic() + allowed - scoring)
            kwargs["callbacks"] = [*kwargs.get("callbacks", []), limit]
            histories = super().run_trial(trial, **kwargs)
            auc = max(histories[0].history[OBJECTIVE])
            if best is None or auc > best:
                scores = self.scores(trial)
                for place in (folder / PROJECT, folder):
                    leave(place, scores)
            return histories

        def best(self) -> Any:
            """The best validation AUC so far, None if there is none."""
            done = [trial.score for trial in self.oracle.trials.values() if trial.status == "COMPLETED"]
            return max(done, default=None)

        def probe(self, trial: Any) -> float:
            """Seconds per image of a forward pass."""
            model = self._try_build(trial.hyperparameters)
            few = images["train"][:PROBED]
            model.predict(few, verbose=0)
            begun = time.perf_counter()
            model.predict(few, verbose=0)
            return (time.perf_counter() - begun) / len(few)

        def scores(self, trial: Any) -> dict[str, Any]:
            model = self.load_model(trial)
            return {
                split: columns(task, model.predict(images[split], batch_size=BATCH, verbose=0)) for split in images
            }

        def on_trial_end(self, trial: Any) -> None:
            super().on_trial_end(trial)
            (Path(self.get_trial_dir(trial.trial_id)) / "checkpoint.weights.h5").unlink(missing_ok=True)
            print(line(trial, time.monotonic() - self.begun), flush=True)

    return Search


def line(trial: Any, seconds: float | None) -> str:
    """Describe a trial in one line."""
    name = f"trial {int(trial.trial_id) + 1}: {describe(trial.hyperparameters.values)}"
    took = "from an earlier search" if seconds is None else f"{seconds:.1f} s"
    if trial.status == "COMPLETED":
        return f"{name}, val AUC {trial.score:.4f}, best epoch {trial.best_step + 1}, {took}"
    reason = (trial.message or "no reason given").strip().splitlines()[-1]
    return f"{name}, failed, {took}: {reason.split('FailedTrialError: ')[-1]}"


def search(folder: Path, task: dict[str, Any], images: dict[str, Any], labels: dict[str, Any]) -> int:
    """Search; return the number of completed trials."""
    import autokeras
    import keras
    import keras_tuner

    warnings.filterwarnings("ignore", module="keras")
    seed = task["seed"] % (2**32 - TRIALS - 1) + 1  # to AutoKeras 0 means no seed
    tuner = searching(folder, task, images, Clock(task["budget"]))

    def make() -> Any:
        return autokeras.ImageClassifier(
            num_classes=len(task["classes"]), multi_label=is_multi_label(task, labels["train"]), metrics=["AUC"],
            objective=keras_tuner.Objective(OBJECTIVE, direction="max"), max_trials=TRIALS,
            directory=folder, project_name=PROJECT, overwrite=False, seed=seed, tuner=tuner,
        )

    try:
        classifier = make()
    except Exception as error:
        if not (folder / PROJECT).exists():
            raise
        print(f"the earlier search cannot be read ({error}); starting over", flush=True)
        shutil.rmtree(folder / PROJECT)
        classifier = make()
    kept = {split: folder / PROJECT / f"scores_{split}.npy" for split in images}
    if all(path.exists() for path in kept.values()):  # mmtk removes scores of a crashed command
        leave(folder, {split: np.load(path) for split, path in kept.items()})
    oracle = classifier.tuner.oracle
    oracle.trials = dict(sorted(oracle.trials.items()))  # read back in any order, which decides ties
    oracle.max_consecutive_failed_trials = TRIALS + 1  # three in a row would end the search
    for trial in oracle.trials.values():
        if trial.status in ("COMPLETED", "FAILED"):
            print(line(trial, None), flush=True)
    with contextlib.suppress(SearchEnded):
        classifier.fit(
            images["train"], targets(task, labels["train"]),
            validation_data=(images["val"], targets(task, labels["val"])), epochs=EPOCHS, batch_size=BATCH, verbose=0,
            callbacks=[keras.callbacks.EarlyStopping(monitor=OBJECTIVE, mode="max", patience=EPOCHS)],
        )
    return sum(trial.status == "COMPLETED" for trial in oracle.trials.values())


def main(folder: Path) -> None:
    """Search in a folder."""
    prepare()
    task, images, labels = read(folder)
    if images["train"].ndim == 4 and images["train"].shape[-1] != 3:
        refuse("volumes are not supported by AutoKeras 3")
    if task["device"] == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    print(estimate_cost(len(images["train"]), task["budget"]), flush=True)
    try:
        import autokeras  # noqa: F401
    except ImportError as error:
        refuse(f"{error}; pip install 'autokeras==3.0.0' 'keras>=3.8,<3.13' six torch")
    import torch

    if task["device"] == "cuda" and not torch.cuda.is_available():
        refuse("the task requires a GPU, but torch finds none")
    trials = search(folder, task, images, labels)
    print(f"completed trials: {trials}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
