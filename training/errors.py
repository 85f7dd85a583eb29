"""The error of the training side that a user can fix."""


class TrainingError(Exception):
    """What went wrong, where, and how to fix it, in one sentence; the command line prints it and exits 1."""
