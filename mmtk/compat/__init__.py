"""Drop-ins for other libraries and ways into them: `mmtk.compat.medmnist`, `to_huggingface`, `to_croissant`."""

from mmtk.compat.croissant import to_croissant
from mmtk.compat.huggingface import to_huggingface

__all__ = ["to_croissant", "to_huggingface"]
