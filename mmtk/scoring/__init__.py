"""AUC and ACC as MedMNIST defines them, and its result files."""

from mmtk.scoring._metrics import Metrics, evaluate
from mmtk.scoring.predictions import Predictions, read_predictions, write_predictions

__all__ = ["Metrics", "Predictions", "evaluate", "read_predictions", "write_predictions"]
