"""``mmtk doctor``: what this machine can do and which kernels are in use."""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

import click

from mmtk import __version__
from mmtk.base import versions
from mmtk.cli._common import echo_json, json_option

_PACKAGES = (
    "numpy", "h5py", "numba", "opencv-python", "opencv-python-headless", "deflate", "simplejpeg", "SimpleITK",
    "scikit-learn", "click", "rich", "requests", "torch", "torchvision", "tensorboard", "matplotlib", "jinja2",
    "hdf5plugin",
)


def _torch_device() -> str:
    try:
        import torch
    except ImportError:
        return "torch is not installed: training and tensors are off; pip install 'mmtk[train]'"
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


@click.command("doctor")
@json_option
def doctor_command(as_json: bool) -> None:
    """Say what this machine can do and which kernels are in use."""
    from mmtk.imaging import kernels_in_use

    facts: dict[str, Any] = {
        "mmtk": __version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "kernels": kernels_in_use(),
        "device": _torch_device(),
        "packages": versions(_PACKAGES),
    }
    if as_json:
        echo_json(facts)
        return
    for name, value in facts.items():
        if name != "packages":
            click.echo(f"{name:10} {value}")
    click.echo(f"{'packages':10} " + ", ".join(f"{n} {v}" for n, v in facts["packages"].items()))
