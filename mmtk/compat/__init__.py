"""Drop-ins for other libraries and ways into them: `mmtk.compat.medmnist`, `to_huggingface`, `export_hub`."""

from mmtk.compat.croissant import to_croissant
from mmtk.compat.hub import export_hub
from mmtk.compat.huggingface import to_huggingface

__all__ = ["export_hub", "to_croissant", "to_huggingface"]
