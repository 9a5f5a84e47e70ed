"""Serial instruments: finding ports, owning them, and emulating them."""
