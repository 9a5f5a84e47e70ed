"""What the OME-XML of a file says about its images."""

import math
from xml.etree import ElementTree as ET

from benchwire.domains.microscopy.readers.alike import FovMetadata
from benchwire.domains.microscopy.readers.units import duration, number, pixel_size, regular


def read_ome_xml(text: str) -> list[FovMetadata]:
    """Return what an OME-XML text says of each image."""
    root = ET.fromstring(text)  # noqa: S314 - expat limits the growth of entities
    return [_image(element) for element in root if _name(element) == "Image"]


def named_files(text: str) -> list[str]:
    """Return the names of the files, other than this one, in which the text says pixels are."""
    root = ET.fromstring(text)  # noqa: S314 - expat limits the growth of entities
    own = root.get("UUID")
    return [
        element.get("FileName", "")
        for element in root.iter()
        if element.tag.endswith("UUID") and (own is None or element.text != own)
    ]


def _image(image: ET.Element) -> FovMetadata:
    pixels = next(element for element in image if _name(element) == "Pixels")
    attributes = pixels.attrib
    channels = [element.get("Name") for element in pixels if _name(element) == "Channel"]
    side = pixel_size(
        number(attributes.get("PhysicalSizeX")), attributes.get("PhysicalSizeXUnit", "µm")
    )
    return FovMetadata(tuple(channels), _times(pixels), side)


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _times(pixels: ET.Element) -> list[float] | None:
    """Return the recorded times, or those of the planned interval when some are not recorded."""
    n_frames = int(pixels.get("SizeT", "1"))
    recorded = _delta_times(pixels)
    if recorded and sorted(recorded) == list(range(n_frames)):
        return [recorded[frame] for frame in range(n_frames)]
    planned = duration(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    incomplete = [math.nan] if recorded else None
    return incomplete if planned is None else regular(planned, n_frames)


def _delta_times(pixels: ET.Element) -> dict[int, float]:
    """Return the time of each frame in its first channel, of the first plane in z."""
    times: dict[int, tuple[int, float]] = {}
    for plane in pixels:
        if _name(plane) != "Plane" or int(plane.get("TheZ", "0")) != 0:
            continue
        time = duration(plane.get("DeltaT"), plane.get("DeltaTUnit", "s"))
        frame, channel = int(plane.get("TheT", "0")), int(plane.get("TheC", "0"))
        if time is not None and (frame not in times or channel < times[frame][0]):
            times[frame] = (channel, time)
    return {frame: time for frame, (_, time) in times.items()}
