"""Torture: thousands of damaged files and failing calls, none of which may pass unsaid. ``make torture`` runs it.

A mutant is a damaged copy of a file that is read back; a fault is a command whose K-th call fails, falls short or is
its last. A worker (`worker`) has imported all of mmtk and forks a child for every fault and for every batch of mutants.
"""
