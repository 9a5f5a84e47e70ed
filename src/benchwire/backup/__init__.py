"""Copies of everything a server keeps, taken while it works, and servers made of such copies.

A backup is a folder: the database as one SQLite file, whatever the server uses, the files of one
moment beside it, and a list of all with their checksums. It is written under another name and
renamed at the end, so half a backup never counts.
"""
