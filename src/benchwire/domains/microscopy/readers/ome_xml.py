"""What the OME-XML of a file says about its images."""

from dataclasses import dataclass
from xml.etree import ElementTree as ET

from benchwire.domains.microscopy.readers.units import ms_per, number, pixel_size, regular


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One image of the file.

    Parameters
    ----------
    times_ms
        Time of each frame; None when the file gives none.
    """

    channel_names: tuple[str | None, ...]
    times_ms: list[float] | None
    pixel_size_um: float | None


def read_ome_xml(text: str) -> tuple[OmeImage, int]:
    """Return the first image of an OME-XML text, and the number of images."""
    root = ET.fromstring(text)  # noqa: S314 - expat limits the growth of entities
    images = [element for element in root if _name(element) == "Image"]
    pixels = next(element for element in images[0] if _name(element) == "Pixels")
    attributes = pixels.attrib
    n_frames = int(attributes.get("SizeT", "1"))
    channels = [element.get("Name") for element in pixels if _name(element) == "Channel"]
    times = _delta_times(pixels, n_frames) or regular(
        _time(attributes.get("TimeIncrement"), attributes.get("TimeIncrementUnit", "s")),
        n_frames,
    )
    side = pixel_size(
        number(attributes.get("PhysicalSizeX")), attributes.get("PhysicalSizeXUnit", "µm")
    )
    return OmeImage(tuple(channels), times, side), len(images)


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _time(text: str | None, unit: str) -> float | None:
    value, scale = number(text), ms_per(unit)
    return None if value is None or scale is None else value * scale


def _delta_times(pixels: ET.Element, n_frames: int) -> list[float] | None:
    """Return the time of each frame in its first channel, of the first plane in z."""
    times: dict[int, tuple[int, float]] = {}
    for plane in pixels:
        if _name(plane) != "Plane" or int(plane.get("TheZ", "0")) != 0:
            continue
        time = _time(plane.get("DeltaT"), plane.get("DeltaTUnit", "s"))
        frame, channel = int(plane.get("TheT", "0")), int(plane.get("TheC", "0"))
        if time is not None and (frame not in times or channel < times[frame][0]):
            times[frame] = (channel, time)
    if len(times) != n_frames or sorted(times) != list(range(n_frames)):
        return None
    return [times[frame][1] for frame in range(n_frames)]
