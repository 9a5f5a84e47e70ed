"""Sets of OME-TIFF files that hold one FOV each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchwire.domains.microscopy.errors import FileUnreadable
from benchwire.domains.microscopy.plan import Pixels
from benchwire.domains.microscopy.readers.alike import refuse_unlike
from benchwire.domains.microscopy.readers.sources import same_for_all
from benchwire.domains.microscopy.readers.tiff_source import TiffSource


class SplitSource:
    """A set of files; the one that was read last stays open, as FOVs are read one after another."""

    def __init__(self, path: Path, base_name: str, members: Sequence[Path]) -> None:
        self._members = members
        self._open: tuple[int, TiffSource] | None = None
        infos, fovs = [], []
        for member in members:
            source = TiffSource(member, base_name)
            infos.append(source.info)
            fovs.append(source.fovs[0])
            source.close()
        if any(info.n_fovs != 1 for info in infos):
            raise FileUnreadable("A file of the set holds more than one field of view")
        same_for_all([(i.height, i.width, i.n_frames, i.n_channels) for i in infos], "size")
        same_for_all([i.dtype for i in infos], "number type")
        refuse_unlike(fovs, infos[0].n_frames)
        files = dict.fromkeys([path, *(file for info in infos for file in info.members)])
        self.info = replace(infos[0], path=path, n_fovs=len(infos), members=tuple(files))

    def read(self, fov: int, frame: int, channel: int) -> Pixels:
        """Return one plane."""
        if self._open is None or self._open[0] != fov:
            self.close()
            self._open = (fov, TiffSource(self._members[fov], self.info.base_name))
        return self._open[1].read(0, frame, channel)

    def close(self) -> None:
        """Give the file back."""
        if self._open is not None:
            self._open[1].close()
            self._open = None
