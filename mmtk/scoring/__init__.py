"""AUC and ACC as ``medmnist.Evaluator`` defines them, their intervals, MedMNIST's result files. Needs no torch."""

from mmtk.scoring._delong import delong, delong_difference
from mmtk.scoring._details import ClassScores, Details, details
from mmtk.scoring._intervals import (
    ClassIntervals,
    Estimate,
    Intervals,
    Resampled,
    as_facts,
    intervals,
    mean_intervals,
    paired_difference,
    resample,
)
from mmtk.scoring._metrics import THRESHOLD, Metrics, evaluate
from mmtk.scoring.predictions import (
    Predictions,
    ScoredFile,
    evaluate_file,
    read_predictions,
    result_name,
    write_predictions,
)

__all__ = [
    "THRESHOLD",
    "ClassIntervals",
    "ClassScores",
    "Details",
    "Estimate",
    "Intervals",
    "Metrics",
    "Predictions",
    "Resampled",
    "ScoredFile",
    "as_facts",
    "delong",
    "delong_difference",
    "details",
    "evaluate",
    "evaluate_file",
    "intervals",
    "mean_intervals",
    "paired_difference",
    "read_predictions",
    "resample",
    "result_name",
    "write_predictions",
]
