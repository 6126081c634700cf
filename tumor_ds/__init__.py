"""Brain tumour MRI as a TensorFlow dataset that tells which test images it has already shown in training.

Importing the package registers the builder, so that `tfds.load("tumor_ds/official")` finds it.
"""

from tumor_ds.tumor_ds_dataset_builder import Builder
from tumor_ds.versions import LABELS

__all__ = ["LABELS", "Builder"]
