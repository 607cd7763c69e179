"""AUC and ACC as ``medmnist.Evaluator`` defines them, confidence intervals, MedMNIST's result files. No torch needed.
"""

from mmtk.scoring._assessment import Assessment, assess
from mmtk.scoring._comparison import Comparison, compare_files
from mmtk.scoring._delong import delong, delong_difference, delong_if_defined
from mmtk.scoring._details import ClassScores, Details, details
from mmtk.scoring._estimates import ClassIntervals, Estimate, Intervals, as_facts
from mmtk.scoring._intervals import (
    RESAMPLES,
    Resampled,
    check_paired,
    draw_digest,
    intervals,
    mean_intervals,
    paired_difference,
    resample,
)
from mmtk.scoring._metrics import TOLERANCE, Metrics, decide, evaluate, format_figure
from mmtk.scoring._outside import read_outside
from mmtk.scoring.predictions import (
    Predictions,
    ScoredFile,
    evaluate_file,
    parse_file_name,
    read_predictions,
    result_name,
    score_predictions,
    write_predictions,
)

__all__ = [
    "RESAMPLES", "TOLERANCE", "Assessment", "ClassIntervals", "ClassScores", "Comparison", "Details", "Estimate",
    "Intervals", "Metrics", "Predictions", "Resampled", "ScoredFile", "as_facts", "assess", "check_paired",
    "compare_files", "decide", "delong", "delong_difference", "delong_if_defined", "details", "draw_digest",
    "evaluate", "evaluate_file", "format_figure", "intervals", "mean_intervals", "paired_difference",
    "parse_file_name", "read_outside", "read_predictions", "resample", "result_name", "score_predictions",
    "write_predictions",
]
