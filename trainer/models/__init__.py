"""Keras graphs: backbones, heads, the reference CNN, export; knows no data."""
