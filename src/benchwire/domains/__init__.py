"""The lab's work: one package per kind of instrument or data, none knowing another."""
