"""Strings the stages together: one run, folds, the artefact."""
