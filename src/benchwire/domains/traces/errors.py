"""Errors of the traces."""

from benchwire.foundation.errors import Invalid, NotFound


class ModelUnknown(Invalid):
    """There is no such model."""

    code = "traces.model_unknown"


class ParametersInvalid(Invalid):
    """A start value or a bound that cannot be used."""

    code = "traces.parameters_invalid"


class CsvInvalid(Invalid):
    """A CSV of traces that cannot be read as one."""

    code = "traces.csv_invalid"


class FolderUnwritable(Invalid):
    """The results cannot be put where they belong."""

    code = "traces.folder_unwritable"


class TraceUnknown(NotFound):
    """There is no such trace."""

    code = "traces.trace_unknown"
