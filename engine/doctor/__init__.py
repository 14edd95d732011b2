"""Findings about this machine, each with its remedy. Torch is looked at from a process of its own."""

from engine.doctor.examination import as_json, examine
from engine.doctor.finding import Finding, State

__all__ = ["Finding", "State", "as_json", "examine"]
