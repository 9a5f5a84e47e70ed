"""Image files of the microscopes, opened alike whatever wrote them.

A file is read one plane at a time. Scenes, positions and image series are FOVs; of a stack in z
only the first plane is read.
"""

from benchwire.domains.microscopy.readers.counts import as_counts
from benchwire.domains.microscopy.readers.member_files import linked_paths
from benchwire.domains.microscopy.readers.opening import is_movie, open_movie, opened

__all__ = ["as_counts", "is_movie", "linked_paths", "open_movie", "opened"]
