"""The microscopy's use cases."""

from benchwire.domains.microscopy.service.folders import Folders
from benchwire.domains.microscopy.service.movies import Movies
from benchwire.domains.microscopy.service.workflows import Workflows

__all__ = ["Folders", "Movies", "Workflows"]
