"""The method ``autokeras``: AutoKeras, run as a command by a script that mmtk ships."""

from __future__ import annotations

import logging
import runpy
import sys
from importlib.util import find_spec

from mmtk.errors import MmtkError
from mmtk.runs import RESULT, RunResult
from mmtk.training import commands
from mmtk.training.methods import Job, register


@register("autokeras", "AutoKeras")
def autokeras(job: Job) -> RunResult:
    """Search with AutoKeras, in a separate process, because Keras fixes its backend on import.

    The estimated cost on two cores and on a GPU is logged before it starts.

    Raises
    ------
    MmtkError
        If AutoKeras is not installed.
    """
    if find_spec("autokeras") is None:
        raise MmtkError.not_installed("method autokeras", "autokeras", "autokeras")
    if not (job.out / RESULT).exists():
        estimate_cost = runpy.run_path(str(commands.SCRIPTS / "autokeras.py"))["estimate_cost"]
        logging.getLogger("mmtk").warning("mmtk: note: %s", estimate_cost(len(job.store.train), job.budget))
    script = "{scripts}/autokeras.py"
    return commands.run(job, name="autokeras", command=["python", script], words=[sys.executable, script])
