"""The chain of proof: how much of what mmtk builds can be shown to be MedMNIST, with the files at hand."""

from mmtk.datasets.official import SIZES
from mmtk.proof._evidence import KINDS, Cell, Difference, Evidence, Need, Proof
from mmtk.proof._prove import prove
from mmtk.proof._table import lines, markdown, table

__all__ = ["KINDS", "SIZES", "Cell", "Difference", "Evidence", "Need", "Proof", "lines", "markdown", "prove", "table"]
