"""Runs as they lie on disk: what each is, what it scored, what that is worth; many of them as tables."""

from mmtk.runs._environment import environment
from mmtk.runs._published import TABLE_2, counterpart, published
from mmtk.runs.config import RunConfig, Setup, StoreFacts
from mmtk.runs.entering import enter
from mmtk.runs.entries import Entry, Method, Outcome
from mmtk.runs.epochs import best_of, figures_of
from mmtk.runs.evaluation import Evaluation, evaluate_run, over_seeds
from mmtk.runs.folder import BEST, COMMAND, CONFIG, LAST, LOG, OUTPUT, RESULT, TRACEBACK, WORK, alone, claim
from mmtk.runs.jsonfiles import AGAIN, present
from mmtk.runs.jsonfiles import read_object as read_record
from mmtk.runs.jsonfiles import write_object as write_record
from mmtk.runs.models import MODELS, Model
from mmtk.runs.reading import Run, Tested, by_flag, by_setup, find_runs, foremost, setups_of
from mmtk.runs.results import RunResult, check_scorable, read_result, write_result
from mmtk.runs.sets import LATER_SETS, table_order
from mmtk.runs.summary import keep_outcome, outcome_facts, write_results
from mmtk.runs.tables import Difference, Mean, Row, deviation, differences_of, means_of, rows_of, table_facts

__all__ = [
    "AGAIN", "BEST", "COMMAND", "CONFIG", "LAST", "LATER_SETS", "LOG", "MODELS", "OUTPUT", "RESULT", "TABLE_2",
    "TRACEBACK", "WORK", "Difference", "Entry", "Evaluation", "Mean", "Method", "Model", "Outcome", "Row", "Run",
    "RunConfig", "RunResult", "Setup", "StoreFacts", "Tested", "alone", "best_of", "by_flag", "by_setup",
    "check_scorable", "claim", "counterpart", "deviation", "differences_of", "enter", "environment", "evaluate_run",
    "figures_of", "find_runs", "foremost", "keep_outcome", "means_of", "outcome_facts", "over_seeds", "present",
    "published", "read_record", "read_result", "rows_of", "setups_of", "table_facts", "table_order", "write_record",
    "write_result", "write_results",
]
