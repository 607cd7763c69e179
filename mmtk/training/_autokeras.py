"""AutoKeras as a method: a command that mmtk ships."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from mmtk.errors import MmtkError
from mmtk.runs import RunResult
from mmtk.training import commands
from mmtk.training.methods import Job, register


@register("autokeras", "AutoKeras")
def autokeras(job: Job) -> RunResult:
    """Search by AutoKeras, in a process of its own, since Keras takes its backend when it is imported.

    Raises
    ------
    MmtkError
        If AutoKeras is not installed.
    """
    if find_spec("autokeras") is None:
        raise MmtkError.not_installed("method autokeras", "autokeras", "autokeras")
    script = "{scripts}/autokeras.py"
    return commands.run(job, name="autokeras", command=["python", script], words=[sys.executable, script])
