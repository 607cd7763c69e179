"""AutoKeras as a method: a command that mmtk ships."""

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
    """Search by AutoKeras, in a process of its own, since Keras takes its backend when it is imported.

    What that costs on two cores and on a GPU is logged before it starts.

    Raises
    ------
    MmtkError
        If AutoKeras is not installed.
    """
    if find_spec("autokeras") is None:
        raise MmtkError.not_installed("method autokeras", "autokeras", "autokeras")
    if not (job.out / RESULT).exists():
        foretold = runpy.run_path(str(commands.SCRIPTS / "autokeras.py"))["foretold"]
        logging.getLogger("mmtk").warning("mmtk: note: %s", foretold(len(job.store.train), job.budget))
    script = "{scripts}/autokeras.py"
    return commands.run(job, name="autokeras", command=["python", script], words=[sys.executable, script])
