"""Export of trained networks to ONNX with proof of parity: ``python -m export --help``."""
