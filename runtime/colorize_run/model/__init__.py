"""The model file: its contract, the session that runs it, its proof, and its variants."""
