"""Training of the networks in PyTorch: ``python -m training --help``."""
