"""The artefact and what runs it: arrays in, arrays out."""
