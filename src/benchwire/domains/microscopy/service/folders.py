"""Looking around among the files, and merging what was processed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchwire.domains.microscopy import work
from benchwire.domains.microscopy.explorer import list_directory, search_files
from benchwire.domains.microscopy.schemas import (
    InspectionRequest,
    ListRequest,
    MergeRequest,
    SearchRequest,
)
from benchwire.foundation.files import AllowedFolders, make_usable, write_whole
from benchwire.foundation.workers import Executor, Turns, ask

MERGE_SECONDS, INSPECT_SECONDS = 3600.0, 120.0
SAMPLES_NAME = "samples.yaml"


class Folders:
    """Folders and files within the allowed area."""

    def __init__(self, allowed: AllowedFolders, workers: Executor) -> None:
        self._allowed = allowed
        self._workers = workers
        # One at a time, so that the workers have room for what takes a moment.
        self._merging = Turns(at_once=1, waiting=6)
        # A search reads all folders it may, and threads are needed for whoever stops an instrument.
        self._searching = Turns(at_once=2, waiting=6)
        # Two people's verdicts on one FOV are written one after the other.
        self._inspecting = Turns(at_once=1, waiting=6)

    def listed(self, request: ListRequest) -> list[dict[str, Any]]:
        """Return what is in a folder, folders first."""
        return list_directory(
            self._allowed.folder(request.directory_path),
            self._allowed.is_allowed,
            include_hidden=request.include_hidden,
            extensions=request.filter_extensions,
        )

    def found(self, request: SearchRequest) -> list[dict[str, Any]]:
        """Return the files below a folder that match."""
        with self._searching.take():
            return search_files(
                self._allowed.folder(request.search_path),
                self._allowed.is_allowed,
                pattern=request.pattern,
                extensions=request.extensions,
                max_depth=request.max_depth,
                include_hidden=request.include_hidden,
            )

    def merge(self, request: MergeRequest) -> dict[str, Any]:
        """Write the traces of each sample's FOVs into one file per channel and feature."""
        index, folder = request.processing_results_yaml, request.input_dir
        named = [text for text in (request.sample_yaml, folder, index) if text is not None]
        *_, target = self._allowed.paths(*named, request.output_dir)
        # Beside a folder the index is not asked for.
        for text in named[:2]:
            self._allowed.existing(text)
        samples = self._allowed.file(request.sample_yaml)
        if folder is not None:
            source = self._allowed.folder(folder)
        else:
            source = self._allowed.file(str(index)).parent
        with self._merging.take():
            merged = ask(
                self._workers, work.merge_samples, samples, source, target, self._allowed,
                seconds=MERGE_SECONDS,
            )  # fmt: skip
        files = [str(path) for path in merged.files]
        return {
            "message": f"{len(files)} files written",
            "output_dir": request.output_dir,
            "merged_files": files,
            "merged_csv": files[0],
            "warnings": list(merged.warnings),
        }

    def save_samples(self, folder: str, samples: Sequence[Mapping[str, str]]) -> Path:
        """Write which FOVs belong to which sample into a folder and return the file."""
        import yaml

        target = self._allowed.path(folder)
        make_usable(target)
        path = target / SAMPLES_NAME
        chosen = [{"name": item["name"], "fovs": item["fovs"]} for item in samples]
        text = yaml.safe_dump({"samples": chosen}, sort_keys=False, allow_unicode=True)
        write_whole(path, text.encode())
        return path

    def inspect(self, request: InspectionRequest, cells: str | None = None) -> Path:
        """Note which cells a person found good and return the file that says so.

        Parameters
        ----------
        cells
            The identity of the cells that were looked at, if it is known.

        Raises
        ------
        CellsReplaced
            Others are there by now.
        """
        path = self._allowed.file(request.traces_path)
        with self._inspecting.take():
            return ask(
                self._workers,
                work.mark_cells,
                path,
                request.good,
                cells,
                self._allowed,
                seconds=INSPECT_SECONDS,
            )
