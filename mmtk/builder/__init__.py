"""From raw files to stores: plan every row first, work in any order, publish whole files."""

from mmtk.builder._build import build
from mmtk.builder._preview import preview
from mmtk.builder.plan import Plan, make_plan
from mmtk.builder.results import BuildResult

__all__ = ["BuildResult", "Plan", "build", "make_plan", "preview"]
