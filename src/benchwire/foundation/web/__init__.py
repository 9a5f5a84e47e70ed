"""The HTTP edge shared by all domains."""
