"""The form that merges the traces of samples, each of them some FOVs."""

from pathlib import Path

from nicegui import ui

from benchwire.domains.microscopy.pages.desk import Desk, fit_path
from benchwire.domains.microscopy.schemas import MergeRequest
from benchwire.foundation.web.shell import act
from benchwire.foundation.web.states import section


class MergeForm:
    """Samples and their FOVs, and the files that came of them."""

    def __init__(self, desk: Desk, results: str, fovs: list[int]) -> None:
        self._desk = desk
        self._results = results
        self._fovs = fovs
        self._samples: list[tuple[ui.row, ui.input, ui.input]] = []

    def draw(self) -> None:
        """Draw the form with one sample of all FOVs."""
        with section("Merge") as card:
            card.mark("merge")
            ui.label("The good cells of each sample go into one file per channel and feature.")
            self._rows = ui.column().classes("w-full gap-1")
            self._add("sample", _range_text(self._fovs))
            with ui.row().classes("w-full items-center gap-3"):
                self._output = ui.input("Merged files go to", value=f"{self._results}/merged")
                self._output.classes("grow").mark("merge-output")
            with ui.row().classes("gap-2"):
                ui.button("Add sample", icon="add", on_click=lambda: self._add("", "")).props(
                    "flat dense"
                )
                ui.button("Merge", icon="merge", on_click=self._merge).mark("merge-start")
            self._merged = ui.column().classes("w-full gap-1").mark("merged")

    def _add(self, name: str, fovs: str) -> None:
        with self._rows, ui.row().classes("w-full items-center gap-3 no-wrap") as row:
            sample = (
                row,
                ui.input("Sample", value=name).classes("grow min-w-0").mark("sample-name"),
                ui.input("FOVs", value=fovs, placeholder="0-5, 7").classes("w-32"),
            )
            sample[2].mark("sample-fovs")
            ui.button(icon="delete", on_click=lambda: self._remove(sample)).props(
                'flat round dense aria-label="Remove the sample"'
            )
        self._samples.append(sample)

    def _remove(self, sample: tuple[ui.row, ui.input, ui.input]) -> None:
        self._samples.remove(sample)
        sample[0].delete()

    async def _merge(self) -> None:
        output = (self._output.value or "").strip()
        samples = [
            {"name": name.value or "", "fovs": fovs.value or ""} for _, name, fovs in self._samples
        ]

        def merge_samples() -> dict[str, object]:
            listed = self._desk.folders.save_samples(output, samples)
            return self._desk.folders.merge(
                MergeRequest(sample_yaml=str(listed), input_dir=self._results, output_dir=output)
            )

        found = await act(merge_samples)
        if found is None:
            return
        ui.notify(str(found["message"]), type="positive")
        self._merged.clear()
        with self._merged:
            self._draw_merged(found)

    def _draw_merged(self, found: dict[str, object]) -> None:
        files, warnings = found["merged_files"], found["warnings"]
        for path in files if isinstance(files, list) else []:
            with ui.row().classes("items-center gap-2 no-wrap"):
                ui.icon("show_chart")
                ui.link(Path(path).name, fit_path(path)).classes("break-all").mark("merged-file")
        for warning in warnings if isinstance(warnings, list) else []:
            ui.label(str(warning)).classes("bw-small text-warning")


def _range_text(fovs: list[int]) -> str:
    """Return FOVs as people write them: ``0-5, 7``."""
    parts: list[list[int]] = []
    for fov in sorted(fovs):
        if parts and fov == parts[-1][1] + 1:
            parts[-1][1] = fov
        else:
            parts.append([fov, fov])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
