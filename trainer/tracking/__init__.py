"""Listens to a run: terminal, Weights & Biases."""
