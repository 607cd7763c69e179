"""Runs on disk: their configuration, results and evaluation, and tables over many of them."""

from mmtk.runs._environment import environment
from mmtk.runs._published import TABLE_2, counterpart, published
from mmtk.runs.config import RunConfig, Setup, StoreFacts
from mmtk.runs.entering import enter
from mmtk.runs.entries import Entry, Method, Outcome
from mmtk.runs.epochs import best_of, figures_of
from mmtk.runs.evaluation import Evaluation, average_seeds, evaluate_run
from mmtk.runs.folder import (
    BEST,
    COMMAND,
    CONFIG,
    LAST,
    LOG,
    OUTPUT,
    RESULT,
    TRACEBACK,
    WORK,
    ensure_config,
    lock_folder,
)
from mmtk.runs.jsonfiles import REMOVE_FOLDER, expect_file
from mmtk.runs.jsonfiles import read_object as read_record
from mmtk.runs.jsonfiles import write_object as write_record
from mmtk.runs.models import MODELS, Model
from mmtk.runs.reading import LabelledPredictions, Run, best_run, by_flag, by_setup, find_runs, setups_of
from mmtk.runs.results import RunResult, check_scorable, read_result, write_result
from mmtk.runs.sets import LATER_SETS, table_order
from mmtk.runs.summary import keep_outcome, outcome_facts, write_results
from mmtk.runs.tables import Difference, Mean, Row, deviation, differences_of, means_of, rows_of, table_facts

__all__ = [
    "BEST", "COMMAND", "CONFIG", "LAST", "LATER_SETS", "LOG", "MODELS", "OUTPUT", "REMOVE_FOLDER", "RESULT", "TABLE_2",
    "TRACEBACK", "WORK", "Difference", "Entry", "Evaluation", "LabelledPredictions", "Mean", "Method", "Model",
    "Outcome", "Row", "Run", "RunConfig", "RunResult", "Setup", "StoreFacts", "average_seeds", "best_of", "best_run",
    "by_flag", "by_setup", "check_scorable", "counterpart", "deviation", "differences_of", "ensure_config", "enter",
    "environment", "evaluate_run", "expect_file", "figures_of", "find_runs", "keep_outcome", "lock_folder", "means_of",
    "outcome_facts", "published", "read_record", "read_result", "rows_of", "setups_of", "table_facts", "table_order",
    "write_record", "write_result", "write_results",
]
