"""Errors of the microscopy."""

from benchwire.foundation.errors import Conflict, Failed, Invalid


class ParametersInvalid(Invalid):
    """A request that cannot be carried out as it is."""

    code = "microscopy.parameters_invalid"


class TypeUnsupported(Invalid):
    """The file is none of the known kinds."""

    code = "microscopy.type_unsupported"


class FileUnreadable(Failed):
    """The file has a known type and cannot be read."""

    code = "microscopy.unreadable"


class PixelsUnsuitable(Invalid):
    """The pixels cannot be taken as 16-bit counts without changing them."""

    code = "microscopy.pixels_unsuitable"


class ProcessingFailed(Failed):
    """A step of the work went wrong."""

    code = "microscopy.processing_failed"


class ResultsReplaced(Conflict):
    """Another workflow has written its results over those of this one."""

    code = "microscopy.results_replaced"


class CellsReplaced(Conflict):
    """The cells have been found anew since somebody looked at them."""

    code = "microscopy.cells_replaced"


class FolderBusy(Conflict):
    """Another workflow is writing the same files."""

    code = "microscopy.folder_busy"
