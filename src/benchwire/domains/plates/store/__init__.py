"""Every query of the plates, one file per kind of record."""
