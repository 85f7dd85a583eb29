"""Faults on purpose: ``python -m torture`` treats the watch folder badly, and counts what it loses."""
