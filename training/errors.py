"""The one error of the training side that a person can mend."""


class TrainingError(Exception):
    """What went wrong, where, and the way out, in one sentence; the command line prints it and exits 1."""
