"""What pixels tell of rows: which source an official row is, which pictures are alike, which subjects cross splits."""

from mmtk.matching._audit import Alike, Audit, Overlap, Place, across, audit, audit_named, write_audit
from mmtk.matching._axes import VolumeAxes, audit_axes, expect_axes, reversed_axes
from mmtk.matching._match import EVIDENCE, LIMIT, Match, MatchRow, decoded, match, read_match, write_match

__all__ = [
    "EVIDENCE", "LIMIT", "Alike", "Audit", "Match", "MatchRow", "Overlap", "Place", "VolumeAxes", "across",
    "audit", "audit_axes", "audit_named", "decoded", "expect_axes", "match", "read_match", "reversed_axes",
    "write_audit", "write_match",
]
