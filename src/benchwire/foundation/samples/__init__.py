"""Samples: which measurement was made on what, across all domains."""
