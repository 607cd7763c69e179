"""Stands in for medmnist if this folder is first on the module path: `mmtk.compat.medmnist` under its name."""

from mmtk.compat.medmnist._running import register

register()
