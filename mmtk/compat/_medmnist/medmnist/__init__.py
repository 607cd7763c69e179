"""Stands in the place of medmnist where this folder is first on the path: `mmtk.compat.medmnist` under its name."""

from mmtk.compat.medmnist._running import register

register()
