"""Time-lapse microscopy: from an image file to the traces of single cells."""
