"""Fluorescence traces of single cells, and the kinetic models fitted to them."""
