"""Data sets: each module reads the public original and, where it lies beside the project, the shared copy."""
