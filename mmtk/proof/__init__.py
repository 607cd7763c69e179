"""The chain of proof: how much of what mmtk builds is shown to be MedMNIST by the available files."""

from mmtk.datasets.official import SIZES
from mmtk.proof._evidence import KINDS, Cell, Difference, Evidence, Proof, Requirement
from mmtk.proof._prove import prove
from mmtk.proof._table import lines, markdown, table

__all__ = [
    "KINDS", "SIZES", "Cell", "Difference", "Evidence", "Proof", "Requirement", "lines", "markdown", "prove", "table",
]
