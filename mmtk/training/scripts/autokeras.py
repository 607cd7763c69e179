"""AutoKeras as a command: up to 20 trials of 20 epochs, the best by validation AUC.

    python autokeras.py FOLDER

FOLDER holds ``task.json``, ``train.npz``, ``val.npz`` and ``test.npz`` as mmtk writes them for a command. Each trial
that is better than all before it leaves ``scores_train.npy``, ``scores_val.npy`` and ``scores_test.npy`` there at once,
so that whatever ends the search, the best model so far counts. Started again in the same folder, the search goes on
after the last finished trial.

Needs autokeras 3.0.0, keras from 3.8 to before 3.13, six, and torch; nothing of mmtk.
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
TRIALS, EPOCHS, BATCH = 20, 20, 32  # the paper's, and AutoKeras's own batch
PROJECT = "search"
OBJECTIVE = "val_AUC"  # of all columns together, as the paper's authors had it
KEPT = 0.95  # of the budget is used, so that mmtk need not end the search
SHARE = 0.5  # of what is left of the budget, for one trial, once another has left scores
PROBED = 8  # images of the forward pass by which a trial's time is foretold
BACKWARD = 3  # a training step takes about three forward passes
# Core seconds for one image of one training epoch, measured with torch 2.13 on two cores: the first trial's network at
# 28 px and the second's, ResNet-50 at 224 px, whatever the size of the images
SMALL, LARGE = 0.0026, 1.32
GPU = (5000, 300)  # images a second in training that a GPU is taken to do of either: not measured


class Stopped(BaseException):
    """The search ends here; the trial under way is not counted, and is run again should the search go on."""


def refuse(line: str) -> NoReturn:
    """End with one line."""
    sys.exit(f"autokeras.py: {line}")


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The task, the images of each split and the labels of train and val."""
    task = json.loads((folder / "task.json").read_text())
    images, labels = {}, {}
    for split in task["images"]:
        with np.load(folder / f"{split}.npz") as held:
            images[split] = held["images"]
            if split != "test":
                labels[split] = held["labels"]
    return task, images, labels


def is_multi_label(task: dict[str, Any], labels: Any) -> bool:
    """Whether labels have a column each; otherwise there is one column, of class numbers."""
    return bool(labels.shape[1] == len(task["classes"]))


def targets(task: dict[str, Any], labels: Any) -> Any:
    """A column a class or label, or one column where there are two classes, float32.

    AutoKeras numbers integer labels anew by those it finds, so a class that train lacks would shift the others.
    """
    if is_multi_label(task, labels):
        return labels.astype(np.float32)
    if len(task["classes"]) == 2:
        return labels.reshape(-1, 1).astype(np.float32)
    return np.eye(len(task["classes"]), dtype=np.float32)[labels.ravel()]


def columns(task: dict[str, Any], scores: Any) -> Any:
    """Scores of a column a class or label, of what the network gives."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.hstack([1 - scores, scores]) if scores.shape[1] == 1 and len(task["classes"]) == 2 else scores


def leave(folder: Path, scores: dict[str, Any]) -> None:
    """Write the scores of all splits, and rename them only then, so that none is half a file."""
    for split, of_split in scores.items():
        with open(folder / f"scores_{split}.partial", "wb") as file:
            np.save(file, of_split)
    for split in scores:
        os.replace(folder / f"scores_{split}.partial", folder / f"scores_{split}.npy")


def prepare() -> None:
    """Set what Keras and torch read when they are imported."""
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait actively take shared cores from each other


def foretold(images: int, budget: float) -> str:
    """What the search costs, in lines."""
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
        f"On two cores the first trial, a small network, takes about {cores[0]}; the second, ResNet-50 at 224 px with 5"
        f" GB of memory, {cores[1]} (from seconds per image measured on two cores); {TRIALS} trials lie between"
        f" {TRIALS} times the one and {TRIALS} times the other.\n"
        f"On a GPU about {gpu[0]} and {gpu[1]} (not measured: {GPU[0]:,} and {GPU[1]:,} images a second assumed).\n"
        "A trial of which not one epoch fits in what is left of the budget is left out; one that is still at work when"
        " its time is over counts with what it has."
    )


def describe(values: dict[str, Any]) -> str:
    """What kind of network a trial is, from its hyperparameters."""
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
    """How much of the budget is left, from the start of the process on; a SIGTERM ends it at once."""

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
    """AutoKeras's own tuner of image classifiers, with this clock, and with scores left as soon as there are any."""
    import keras
    from autokeras.tuners.task_specific import ImageClassifierTuner
    from keras_tuner.errors import FailedTrialError

    total = sum(map(len, images.values()))

    class Limit(keras.callbacks.Callback):  # type: ignore[misc]
        """Ends training when the trial's time is over, and with it the epoch under way."""

        def __init__(self, end: float) -> None:
            super().__init__()
            self.end = end

        def __deepcopy__(self, memo: Any) -> Limit:
            return Limit(self.end)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if clock.warned and (folder / "scores_test.npy").exists():
                raise Stopped
            if time.monotonic() > min(self.end, clock.end):
                self.model.stop_training = True

    class Search(ImageClassifierTuner):  # type: ignore[misc]
        least = 0.0  # seconds that the shortest trial so far would take for one epoch and its scores

        def pre_create_trial(self) -> None:
            number = len(self.oracle.trials)
            if clock.left() <= self.least:
                raise Stopped
            keras.utils.set_random_seed(self.seed + number)  # by which the next trial is drawn: the same after a kill

        def on_search_end(self) -> None:
            raise Stopped  # the scores are written; AutoKeras would build the best network once more

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
                raise Stopped
            epoch = forward * (BACKWARD * len(images["train"]) + len(images["val"]))
            scoring = 1.2 * forward * total
            allowed = clock.left() * (1 if best is None else SHARE)
            if epoch + scoring > allowed:
                raise FailedTrialError(
                    f"too slow for what is left of the budget: an epoch takes about {epoch:.0f} s, scores"
                    f" {scoring:.0f} s, and it may take {max(allowed, 0):.0f} s"
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
            """The best validation AUC so far, None before there is one."""
            done = [trial.score for trial in self.oracle.trials.values() if trial.status == "COMPLETED"]
            return max(done, default=None)

        def probe(self, trial: Any) -> float:
            """Seconds of a forward pass an image."""
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
    """One trial in a line."""
    name = f"trial {int(trial.trial_id) + 1}: {describe(trial.hyperparameters.values)}"
    took = "from before" if seconds is None else f"{seconds:.1f} s"
    if trial.status == "COMPLETED":
        return f"{name}, val AUC {trial.score:.4f}, best epoch {trial.best_step + 1}, {took}"
    reason = (trial.message or "no reason given").strip().splitlines()[-1]
    return f"{name}, failed, {took}: {reason.split('FailedTrialError: ')[-1]}"


def search(folder: Path, task: dict[str, Any], images: dict[str, Any], labels: dict[str, Any]) -> int:
    """Search, and return how many trials there are that count."""
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
        print(f"what an earlier search left cannot be read ({error}); the search begins anew", flush=True)
        shutil.rmtree(folder / PROJECT)
        classifier = make()
    kept = {split: folder / PROJECT / f"scores_{split}.npy" for split in images}
    if all(path.exists() for path in kept.values()):  # mmtk takes those of a command that crashed away
        leave(folder, {split: np.load(path) for split, path in kept.items()})
    oracle = classifier.tuner.oracle
    oracle.trials = dict(sorted(oracle.trials.items()))  # read back in any order, by which the best of equals goes
    oracle.max_consecutive_failed_trials = TRIALS + 1  # three in a row would end the search
    for trial in oracle.trials.values():
        if trial.status in ("COMPLETED", "FAILED"):
            print(line(trial, None), flush=True)
    with contextlib.suppress(Stopped):
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
        refuse("expected images, found volumes; AutoKeras 3 takes none")
    if task["device"] == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    print(foretold(len(images["train"]), task["budget"]), flush=True)
    try:
        import autokeras  # noqa: F401
    except ImportError as error:
        refuse(f"{error}; pip install 'autokeras==3.0.0' 'keras>=3.8,<3.13' six torch")
    import torch

    if task["device"] == "cuda" and not torch.cuda.is_available():
        refuse("expected a GPU, as the task asks for, found none")
    trials = search(folder, task, images, labels)
    print(f"trials that count: {trials}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
