"""The environment of a run: versions, revision, machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from mmtk import __version__
from mmtk.base import versions

_PACKAGES = ("numpy", "h5py", "numba", "scikit-learn", "torch", "flaml", "autokeras", "keras", "ai-edge-litert")


def environment() -> dict[str, Any]:
    """Return versions of mmtk and its numerical packages, git revision, and machine."""
    return {
        "mmtk": __version__, "revision": revision(), "python": platform.python_version(),
        **versions(_PACKAGES),
        "platform": f"{sys.platform} {platform.machine()}", "processor": _processor(), "cores": os.cpu_count(),
        **_torch(),
    }


def revision() -> str | None:
    """Return the git revision if mmtk runs from its own checkout, with ``+`` if files have changed; otherwise None."""
    package = Path(__file__).resolve().parents[1]
    top = _git(package, "rev-parse", "--show-toplevel")
    if top is None or Path(top) != package.parent:
        return None
    head = _git(package, "rev-parse", "HEAD")
    changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{head}+" if head and changed else head


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _torch() -> dict[str, Any]:
    """Threads and CUDA device, if torch is already imported; this function should not import it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    facts = {"threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        gpu, cuda, cudnn = torch.cuda.get_device_name(), torch.version.cuda, torch.backends.cudnn.version()
        facts |= {"gpu": gpu, "cuda": cuda, "cudnn": cudnn}
    return facts
