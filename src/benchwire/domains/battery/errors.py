"""Errors of the battery telemetry; the API writes them as the framework does, under ``detail``."""

from pathlib import Path

from benchwire.foundation.errors import Conflict, Failed, Invalid, NotFound, Unavailable


class DeviceUnknown(NotFound):
    """There is no such device, or it has nothing of that group."""

    code = "battery.device_unknown"

    def __init__(self, group: str) -> None:
        super().__init__(
            f"There is no such device with {group.upper()} data",
            hint=f"See /{group}/devices; names are exact, upper and lower case too.",
        )


class RecordingsAway(Unavailable):
    """The folder of the recordings is not there."""

    code = "battery.recordings_away"

    def __init__(self) -> None:
        super().__init__("The recordings are not there at the moment; look to their disk")


class PeriodEmpty(NotFound):
    """There are no rows in the period that was named."""

    code = "battery.period_empty"

    def __init__(self) -> None:
        super().__init__("The device has no rows in that period")


class FileDamaged(Unavailable):
    """A file of rows cannot be read as it was written."""

    code = "battery.file_damaged"

    def __init__(self, path: Path) -> None:
        super().__init__("A file of the server's own is damaged and is made anew; ask again")
        self.path = path


class StillReading(Unavailable):
    """The recording is being read and is not ready yet."""

    code = "battery.still_reading"

    def __init__(self) -> None:
        super().__init__("The recording is still being read; ask again in a moment")


class QueryInvalid(Invalid):
    """A query names something that cannot be answered."""

    code = "battery.query_invalid"
    status = 422


class TooLittleData(Invalid):
    """The data do not suffice for what was asked."""

    code = "battery.too_little_data"
    status = 422


class IngestFailed(Failed):
    """A recording could not be read."""

    code = "battery.ingest_failed"


class TooManyDevices(Conflict):
    """No further device can be taken up."""

    code = "battery.too_many_devices"

    def __init__(self, most: int) -> None:
        super().__init__(f"There are {most} devices that send readings already")


class ReadingInvalid(Invalid):
    """A reading cannot be taken; nothing of the request was stored."""

    code = "battery.reading_invalid"
    status = 422


class TooMuchData(Invalid):
    """More was asked for than can be had at once."""

    code = "battery.too_much_data"
    status = 422
