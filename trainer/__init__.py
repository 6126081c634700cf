"""Keras trainer for the brain MRI classifier: input pipeline, augmentation, model, training, evaluation, export."""
