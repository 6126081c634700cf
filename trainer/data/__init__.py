"""Pictures in, tensors out: input pipeline, batches, augmentation; knows no model."""
