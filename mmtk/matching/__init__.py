"""Compare pixels: match official rows with sources, and find duplicates, subjects in several splits and wrong crops."""

from mmtk.matching._audit import Audit, DuplicateGroup, Overlap, Place, audit, audit_named, count_across, write_audit
from mmtk.matching._axes import VolumeAxes, audit_axes, expect_axes, reversed_axes
from mmtk.matching._match import EVIDENCE, LIMIT, Match, MatchRow, decoded, match, read_match, write_match

__all__ = [
    "EVIDENCE", "LIMIT", "Audit", "DuplicateGroup", "Match", "MatchRow", "Overlap", "Place", "VolumeAxes",
    "audit", "audit_axes", "audit_named", "count_across", "decoded", "expect_axes", "match", "read_match",
    "reversed_axes", "write_audit", "write_match",
]
