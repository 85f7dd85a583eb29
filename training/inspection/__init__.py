"""Looking into networks and runs: layers, feature maps, and the figures of finished runs."""
