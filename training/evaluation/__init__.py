"""Figures of networks on pictures: how far from the truth, how colourful, how well outlined."""
