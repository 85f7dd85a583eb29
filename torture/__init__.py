"""Deliberate faults: ``python -m torture`` mistreats the watch folder, and counts what it loses."""
