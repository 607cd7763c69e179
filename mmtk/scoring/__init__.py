"""AUC and ACC as ``medmnist.Evaluator`` defines them, and MedMNIST's result files. Needs no torch."""

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
    "Metrics",
    "Predictions",
    "ScoredFile",
    "evaluate",
    "evaluate_file",
    "read_predictions",
    "result_name",
    "write_predictions",
]
