"""Synthetic raw data with the providers' layouts, formats, sizes and quirks, and classes that a network can learn."""

from mmtk.phantom._writer import PHANTOMS, expect_drawn, write_phantom

__all__ = ["PHANTOMS", "expect_drawn", "write_phantom"]
