"""Finished work as RO-Crates: the data, what is known of them, and checksums, in one ZIP."""
