"""CZI files."""

from collections import defaultdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from pylibCZIrw import czi

from benchwire.domains.microscopy.errors import FileUnreadable
from benchwire.domains.microscopy.plan import Pixels
from benchwire.domains.microscopy.readers.alike import FovMetadata, refuse_unlike_durations
from benchwire.domains.microscopy.readers.czi_times import recorded_times
from benchwire.domains.microscopy.readers.sources import describe, refuse_colours, same_for_all
from benchwire.domains.microscopy.readers.units import duration, number, pixel_size, regular

_NUMBER_TYPES = {"Gray8": "uint8", "Gray16": "uint16", "Gray32Float": "float32"}
_NO_SCENE = -1


class CziSource:
    """One CZI file; its scenes are the FOVs."""

    def __init__(self, path: Path, base_name: str) -> None:
        self._file = czi.CziReader(str(path))
        try:
            self._read_header(path, base_name)
        except BaseException:
            self._file.close()
            raise

    def _read_header(self, path: Path, base_name: str) -> None:
        blocks = _blocks(self._file)
        if any("Bgr" in block["type"] for block in blocks):
            raise refuse_colours()
        same_for_all([block["type"] for block in blocks], "number type")
        self._dtype = np.dtype(_NUMBER_TYPES[blocks[0]["type"]])
        self._type = blocks[0]["type"]
        first: dict[str, int] = {}
        places: dict[str, list[int]] = {}
        for axis in {axis for block in blocks for axis in block["place"]}:
            places[axis] = sorted({block["place"].get(axis, 0) for block in blocks})
            first[axis] = places[axis][0]
        if any(len(places[axis]) > 1 for axis in set(places) - set("STCZM")):
            raise FileUnreadable("The file has more axes than scenes, time, channels and z")
        self._first = first
        self._frames, self._channels = places.get("T", [0]), places.get("C", [0])
        self._areas = _areas(blocks)
        self._present = {
            (b["scene"], b["place"].get("T", 0), b["place"].get("C", 0))
            for b in blocks
            if b["place"].get("Z", 0) == first.get("Z", 0)
        }
        same_for_all([area[2:] for area in self._areas.values()], "size")
        self._scenes = sorted(self._areas)
        width, height = self._areas[self._scenes[0]][2:]
        n_frames = len(self._frames)
        image = ET.fromstring(self._file.raw_metadata)  # noqa: S314 - expat limits entities
        side = number(image.findtext(".//Scaling/Items/Distance[@Id='X']/Value"))
        self.info = describe(
            path,
            base_name=base_name,
            file_type="czi",
            plane=(height, width),
            counts=(len(self._scenes), n_frames, len(self._channels)),
            dtype=self._dtype,
            fovs=[
                FovMetadata(
                    tuple(_channel_names(image)), self._times(path, image), pixel_size(side, "m")
                )
            ],
        )

    def _times(self, path: Path, image: ET.Element) -> list[float] | None:
        """Return the times of FOV 0, after a look at how long the others lasted."""
        recorded, durations = recorded_times(path, self._scenes, self._frames)
        if recorded is not None and len(recorded) == len(self._frames):
            refuse_unlike_durations(durations, recorded)
            return recorded
        increment = image.findtext(".//Image/Dimensions/T/Positions/Interval/Increment")
        planned = regular(duration(increment, "s"), len(self._frames))
        return recorded if planned is None else planned

    def read(self, fov: int, frame: int, channel: int) -> Pixels:
        """Return one plane."""
        scene = self._scenes[fov]
        place = {**self._first, "T": self._frames[frame], "C": self._channels[channel]}
        if (scene, place["T"], place["C"]) not in self._present:
            # The library answers zeros for an image that is not there.
            raise FileUnreadable("An image is missing in the file")
        place = {axis: at for axis, at in place.items() if axis not in "SM"}
        pixels = self._file.read(
            roi=self._areas[scene],
            plane=place,
            scene=None if scene == _NO_SCENE else scene,
            pixel_type=self._type,
        )
        return np.array(pixels[..., 0])

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def _blocks(file: czi.CziReader) -> list[dict[str, Any]]:
    """Return where each piece of an image at full size belongs."""
    found: list[dict[str, Any]] = []

    def note(_index: int, block: Any) -> bool:
        place, area = block.coordinate.to_dict(), block.logicalRect
        found.append(
            {
                "place": place,
                "scene": place.get("S", _NO_SCENE),
                "type": block.pixelType.name,
                "area": (area.x, area.y, area.x + area.w, area.y + area.h),
            }
        )
        return True

    file.enumerate_subblocks_subset(note, only_layer0=True)
    if not found:
        raise FileUnreadable("The file holds no image")
    return found


def _areas(blocks: list[dict[str, Any]]) -> dict[int, tuple[int, int, int, int]]:
    """Return the box around each scene as x, y, width, height; scenes need no name for that."""
    areas = defaultdict(list)
    for block in blocks:
        areas[block["scene"]].append(block["area"])
    boxes = {}
    for scene, corners in areas.items():
        x0, y0, x1, y1 = zip(*corners, strict=True)
        boxes[scene] = (min(x0), min(y0), max(x1) - min(x0), max(y1) - min(y0))
    return boxes


def _channel_names(image: ET.Element) -> list[str | None]:
    for place in (".//Image/Dimensions/Channels/Channel", ".//DisplaySetting/Channels/Channel"):
        names = [channel.get("Name") for channel in image.findall(place)]
        if any(names):
            return names
    return []
