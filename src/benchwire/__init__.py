"""One dependable server for the whole lab bench."""

__version__ = "0.2.0.dev0"
