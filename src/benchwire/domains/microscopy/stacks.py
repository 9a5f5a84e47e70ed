"""Stacks of frames on disk: NumPy files written frame by frame, whole or absent."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from benchwire.domains.microscopy.plan import Plan
from benchwire.foundation.files import PARTIAL_SUFFIX, sync_folder

_DTYPES = {
    "pc": np.uint16,
    "fl": np.uint16,
    "seg": np.bool_,
    "seg_labeled": np.uint16,
    "fl_background": np.float32,
}


@dataclass(frozen=True, slots=True)
class Stack:
    """One of the stacks of a field of view.

    Parameters
    ----------
    kind
        ``pc`` phase as read, ``fl`` fluorescence as read, ``seg`` the cells' pixels,
        ``seg_labeled`` their ids, ``fl_background`` the light between them.
    """

    kind: str
    channel: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type of its pixels."""
        return np.dtype(_DTYPES[self.kind])

    def name(self, base_name: str, fov: int) -> str:
        """Return its file's name."""
        return f"{base_name}_fov_{fov:03d}_{self.kind}_ch_{self.channel}.npy"


def stacks_of(plan: Plan) -> tuple[Stack, ...]:
    """Return all stacks that are written for each field of view."""
    phase = tuple(Stack(kind, plan.phase) for kind in ("pc", "seg", "seg_labeled"))
    return phase + tuple(
        Stack(kind, item.channel) for item in plan.fluorescence for kind in ("fl", "fl_background")
    )


class StackWriter:
    """Writes a ``(T, H, W)`` file of NumPy, one frame after the other.

    Frames are appended and not mapped into memory, so that the memory stays that of one frame.
    Until `publish` the file has another name, which no reader takes for a stack.

    Parameters
    ----------
    shape
        Frames, rows and columns.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], *, dtype: DTypeLike) -> None:
        self.path = path
        self._partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._n_frames = 0
        # What another run left is removed and not written through: it may be a link.
        self._partial.unlink(missing_ok=True)
        self._file = self._partial.open("xb")
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, frame: NDArray[Any]) -> None:
        """Write the next frame, (H, W) of the file's own number type."""
        if frame.shape != self._shape[1:] or frame.dtype != self._dtype:
            raise ValueError(f"{frame.dtype} {frame.shape} does not belong into {self.path.name}")
        self._file.write(np.ascontiguousarray(frame).data)
        self._n_frames += 1

    def finish(self) -> None:
        """Bring all of it to the disk."""
        if self._n_frames != self._shape[0]:
            raise ValueError(f"{self.path.name} has {self._n_frames} of {self._shape[0]} frames")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def publish(self) -> None:
        """Give a finished file its name."""
        self._partial.replace(self.path)

    def discard(self) -> None:
        """Remove what has been written."""
        self._file.close()
        self._partial.unlink(missing_ok=True)


@contextmanager
def written_together(
    paths: Mapping[Stack, Path], shape: tuple[int, int, int]
) -> Iterator[Mapping[Stack, StackWriter]]:
    """Give writers of stacks that get their names at the end, or leave nothing at all."""
    writers: dict[Stack, StackWriter] = {}
    try:
        for stack, path in paths.items():
            writers[stack] = StackWriter(path, shape, dtype=stack.dtype)
        yield writers
        for writer in writers.values():
            writer.finish()
        for writer in writers.values():
            writer.publish()
    except BaseException:
        for writer in writers.values():
            writer.discard()
        raise
    for folder in {path.parent for path in paths.values()}:
        sync_folder(folder)
