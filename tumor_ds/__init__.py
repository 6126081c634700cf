"""Brain tumour MRI as a TensorFlow dataset that tells which test images it has already shown in training.

Importing the package registers the builder, so that `tfds.load("tumor_ds/official")` finds it.
"""

from tumor_ds.collection.versions import LABELS
from tumor_ds.tumor_ds_dataset_builder import Builder

__all__ = ["LABELS", "Builder"]
