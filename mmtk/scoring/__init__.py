"""AUC and ACC as ``medmnist.Evaluator`` defines them, their intervals, MedMNIST's result files. Needs no torch."""

from mmtk.scoring._details import ClassScores, Details, details
from mmtk.scoring._intervals import Estimate, Intervals, delong, delong_difference, intervals, paired_difference
from mmtk.scoring._metrics import Metrics, evaluate
from mmtk.scoring.predictions import (
    Predictions,
    ScoredFile,
    evaluate_file,
    read_predictions,
    result_name,
    write_predictions,
)

__all__ = [
    "ClassScores",
    "Details",
    "Estimate",
    "Intervals",
    "Metrics",
    "Predictions",
    "ScoredFile",
    "delong",
    "delong_difference",
    "details",
    "evaluate",
    "evaluate_file",
    "intervals",
    "paired_difference",
    "read_predictions",
    "result_name",
    "write_predictions",
]
