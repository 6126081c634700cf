"""Keras trainer of the brain MRI classifier: data, network, training, evaluation, artefact."""
