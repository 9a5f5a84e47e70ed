"""The potentiostat's pages."""
