"""Errors of the traces."""

from benchwire.foundation.errors import Conflict, Invalid, NotFound


class ModelUnknown(Invalid):
    """There is no such model."""

    code = "traces.model_unknown"


class ParametersInvalid(Invalid):
    """A start value or a bound that cannot be used."""

    code = "traces.parameters_invalid"


class CsvInvalid(Invalid):
    """A CSV of traces that cannot be read as one."""

    code = "traces.csv_invalid"


class NameTooLong(Invalid):
    """The results cannot be named as they should be."""

    code = "traces.name_too_long"


class TraceUnknown(NotFound):
    """There is no such trace."""

    code = "traces.trace_unknown"


class FittingUnderWay(Conflict):
    """The same table is being written by another fitting."""

    code = "traces.fitting_under_way"


class TracesChanged(Conflict):
    """The traces are not those that were fitted."""

    code = "traces.changed"
