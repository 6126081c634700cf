"""The collection as it is downloaded: archive, versions, Kaggle."""
