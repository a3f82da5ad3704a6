"""A sample of the faults, with every way and every kind; all of them are `python -m tests.applier.faults`."""
from __future__ import annotations
