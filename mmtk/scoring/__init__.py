"""AUC and ACC as ``medmnist.Evaluator`` defines them, their intervals, MedMNIST's result files. Needs no torch."""

from mmtk.scoring._assessment import Assessment, assess
from mmtk.scoring._comparison import Comparison, compare_files
from mmtk.scoring._delong import delong, delong_difference, delong_if_defined, enough
from mmtk.scoring._details import ClassScores, Details, details
from mmtk.scoring._intervals import (
    RESAMPLES,
    ClassIntervals,
    Estimate,
    Intervals,
    Resampled,
    as_facts,
    check_paired,
    draw_of,
    intervals,
    mean_intervals,
    paired_difference,
    resample,
)
from mmtk.scoring._metrics import TOLERANCE, Metrics, decide, evaluate, shown
from mmtk.scoring._outside import read_outside
from mmtk.scoring.predictions import (
    Predictions,
    ScoredFile,
    evaluate_file,
    read_predictions,
    result_name,
    score_predictions,
    told_in,
    write_predictions,
)

__all__ = [
    "RESAMPLES", "TOLERANCE", "Assessment", "ClassIntervals", "ClassScores", "Comparison", "Details", "Estimate",
    "Intervals", "Metrics", "Predictions", "Resampled", "ScoredFile", "as_facts", "assess", "check_paired",
    "compare_files", "decide", "delong", "delong_difference", "delong_if_defined", "details", "draw_of", "enough",
    "evaluate", "evaluate_file", "intervals", "mean_intervals", "paired_difference", "read_outside", "read_predictions",
    "resample", "result_name", "score_predictions", "shown", "told_in", "write_predictions",
]
