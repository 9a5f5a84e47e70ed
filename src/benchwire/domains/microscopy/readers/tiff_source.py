"""OME-TIFF and plain TIFF files."""

import math
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchwire.domains.microscopy.errors import FileUnreadable
from benchwire.domains.microscopy.plan import Pixels
from benchwire.domains.microscopy.readers.alike import FovMetadata
from benchwire.domains.microscopy.readers.member_files import refuse_outside
from benchwire.domains.microscopy.readers.ome_xml import named_files, read_ome_xml
from benchwire.domains.microscopy.readers.sources import describe, refuse_colours, same_for_all
from benchwire.domains.microscopy.readers.units import duration, pixel_size, regular

_COLOURS = 3
_CENTIMETRE = 3


class TiffSource:
    """One TIFF file, with those that its OME-XML names; its image series are the FOVs."""

    def __init__(self, path: Path, base_name: str) -> None:
        self._file = tifffile.TiffFile(path)
        try:
            self._read_header(path, base_name)
        except BaseException:
            self.close()
            raise

    def _read_header(self, path: Path, base_name: str) -> None:
        file = self._file
        self._check_chain()
        if re.search(r"\.ome\.tiff?$", path.name, re.IGNORECASE) and not file.is_ome:
            raise FileUnreadable("The OME-XML of the file is missing or not complete")
        if file.is_ome and file.ome_metadata:
            # The library opens whatever the OME-XML names as soon as it is asked for the series.
            refuse_outside(path, named_files(file.ome_metadata))
        self._series: list[Any] = list(file.series)
        others = self._other_files()
        if any(other.parent != path.resolve().parent for other in others):
            raise FileUnreadable(f"Some images of {path.name} are in another folder")
        kinds = [(s.get_axes(squeeze=False), s.get_shape(squeeze=False)) for s in self._series]
        same_for_all([*kinds], "size")
        same_for_all([str(s.dtype) for s in self._series], "number type")
        self._axes, self._shape = kinds[0]
        sizes = dict(zip(self._axes, self._shape, strict=True))
        if sizes.get("S", 1) >= _COLOURS or file.pages.first.photometric in (2, 6):
            raise refuse_colours()
        self._frame_axis = next((axis for axis in "TIQ" if sizes.get(axis, 1) > 1), "T")
        self._fov_axis = next((axis for axis in "PR" if sizes.get(axis, 1) > 1), "")
        known = {"Y", "X", "C", "Z", self._frame_axis, self._fov_axis}
        strange = [axis for axis in self._axes if axis not in known and sizes[axis] > 1]
        if strange or (self._fov_axis and len(self._series) > 1):
            raise FileUnreadable("The images are laid out in a way that is not known here")
        counts = (
            len(self._series) * sizes.get(self._fov_axis, 1),
            sizes.get(self._frame_axis, 1),
            sizes.get("C", 1),
        )
        self.fovs = self._described(counts[1])
        self.info = describe(
            path,
            base_name=base_name,
            file_type="ome-tiff" if file.is_ome else "tiff",
            plane=(sizes["Y"], sizes["X"]),
            counts=counts,
            dtype=self._series[0].dtype,
            fovs=self.fovs,
            others=others,
        )
        for series in self._series:
            self._check_extent(series)

    def _check_chain(self) -> None:
        """Refuse a file whose list of images breaks off; the library goes on with those it has."""
        file = self._file
        len(file.pages)
        handle, kind = file.filehandle, file.tiff
        handle.seek(file.pages.next_page_offset or 0)
        (following,) = struct.unpack(kind.offsetformat, handle.read(kind.offsetsize))
        if following != 0:
            raise FileUnreadable("The list of the images breaks off")

    def _other_files(self) -> list[Path]:
        """Return the files besides this one that hold images, in the order of the images."""
        found: dict[str, None] = {}
        for series in self._series:
            # Only series of several files have pages of more than one.
            for page in series.pages if series.is_multifile else [series.keyframe]:
                if page is not None and page.parent is not self._file:
                    found[page.parent.filehandle.path] = None
        return [Path(place) for place in found]

    def _offset(self, series: Any) -> int | None:
        """Return where the images of a series begin when they follow each other in this file."""
        if series.is_multifile or series.keyframe.parent is not self._file:
            return None
        offset: int | None = series.dataoffset
        return offset

    def _check_extent(self, series: Any) -> None:
        offset = self._offset(series)
        if offset is not None:
            end = offset + math.prod(self._shape) * series.dtype.itemsize
            if end > self._file.filehandle.size:
                raise FileUnreadable("The file ends before its last image")
            return
        if len(series.pages) * math.prod(series.pages[0].shape) != math.prod(self._shape):
            raise FileUnreadable("The file has fewer images than it says")
        self._page(series, len(series.pages) - 1)

    def _page(self, series: Any, index: int) -> Any:
        page = series.pages[index]
        if page is None:
            raise FileUnreadable("An image is missing in the file")
        # The library fills what is missing at the end of a file with zeros.
        size = page.parent.filehandle.size
        extents = zip(page.dataoffsets, page.databytecounts, strict=True)
        if any(offset + count > size or count == 0 for offset, count in extents):
            raise FileUnreadable("The file ends before its last image")
        return page

    def _described(self, n_frames: int) -> list[FovMetadata]:
        """Return what the file says of each FOV, or of all."""
        file = self._file
        if file.is_ome and file.ome_metadata:
            images = read_ome_xml(file.ome_metadata)
            if len(images) != len(self._series):
                raise FileUnreadable("Some of the image series have no pixels in the file")
            return images
        values = file.imagej_metadata or {}
        interval = duration(values.get("finterval"), str(values.get("tunit", "s")))
        return [FovMetadata((), regular(interval, n_frames), self._resolution())]

    def _resolution(self) -> float | None:
        """Return the side of a pixel in um from the tags of the first image."""
        tags = self._file.pages.first.tags
        resolution = tags.valueof("XResolution")
        unit = str((self._file.imagej_metadata or {}).get("unit", ""))
        if not unit and tags.valueof("ResolutionUnit") == _CENTIMETRE:
            unit = "cm"
        if not resolution or not unit or not resolution[0]:
            return None
        return pixel_size(resolution[1] / resolution[0], unit.replace("\\u00B5", "µ"))

    def read(self, fov: int, frame: int, channel: int) -> Pixels:
        """Return one plane."""
        wanted = {self._frame_axis: frame, "C": channel}
        if self._fov_axis:
            wanted[self._fov_axis], fov = fov, 0
        series: Any = self._series[fov]
        place = tuple(0 if axis in "YXS" else wanted.get(axis, 0) for axis in self._axes)
        start = int(np.ravel_multi_index(place, self._shape))
        plane = self.info.height * self.info.width
        offset = self._offset(series)
        if offset is not None and self._laid_out_by_plane():
            return self._plane_at(series, offset, start)
        page_size = math.prod(series.pages[0].shape)
        page = self._page(series, start // page_size)
        with _held_open(page.parent.filehandle):
            pixels: Pixels = page.asarray().reshape(-1)[start % page_size :][:plane]
        return pixels.reshape(self.info.height, self.info.width)

    def _laid_out_by_plane(self) -> bool:
        return bool(self._axes.rstrip("S").endswith("YX"))

    def _plane_at(self, series: Any, offset: int, start: int) -> Pixels:
        # Read and not mapped: mapped pages count as the worker's memory, and a file that is cut
        # short meanwhile would end the process.
        kind = np.dtype(series.dtype).newbyteorder(self._file.byteorder)
        shape = (self.info.height, self.info.width)
        handle = self._file.filehandle
        handle.seek(offset + start * kind.itemsize)
        content = handle.read(math.prod(shape) * kind.itemsize)
        if len(content) < math.prod(shape) * kind.itemsize:
            raise FileUnreadable("The file ends before its last image")
        return np.frombuffer(content, kind).reshape(shape)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


@contextmanager
def _held_open(handle: Any) -> Iterator[None]:
    """Open one of the other files for as long as it is read; the library leaves them closed."""
    closed = handle.closed
    if closed:
        handle.open()
    try:
        yield
    finally:
        if closed:
            handle.close()
