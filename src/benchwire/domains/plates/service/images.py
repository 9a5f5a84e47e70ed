"""Images of wells, and points marked on them."""

import contextlib
import os
import threading
import unicodedata
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

from benchwire.domains.plates import answers
from benchwire.domains.plates.errors import RecordNotFound, Unacceptable
from benchwire.domains.plates.image_files import ImageFiles
from benchwire.domains.plates.image_header import SHOWN_BY_BROWSERS, Header, NotAnImage, read_header
from benchwire.domains.plates.requests import root
from benchwire.domains.plates.scores import POINT_TYPES
from benchwire.domains.plates.settings import PlatesSettings
from benchwire.domains.plates.store.images import ImageStore
from benchwire.domains.plates.store.plates import PlateStore
from benchwire.domains.plates.store.wells import WellStore
from benchwire.domains.plates.values import Draft, in_words
from benchwire.domains.plates.work import draw_preview
from benchwire.foundation.clock import Clock
from benchwire.foundation.companion import promised
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.workers import Executor

Answer = dict[str, Any]
UrlOf = Callable[[Mapping[str, Any]], str]

# Lengths of the longer side of previews: in a plate's grid, and on a page.
PREVIEWS = (256, 1600)
PREVIEW_SECONDS = 120.0
_MOST_DRAWINGS = 1000
_POINT_COLUMNS = ("pixel_x", "pixel_y", "point_type", "description", "marked_at")
_IMAGE_COLUMNS = (
    *answers.IMAGE_NUMBERS, "pixel_width", "pixel_height", "description", "captured_at",
)  # fmt: skip
_TOO_FEW = "Please provide both pixel width and height, or leave both blank for auto-detection"


class Images:
    """All images and points of interest."""

    def __init__(
        self,
        store: ImageStore,
        wells: WellStore,
        plates: PlateStore,
        files: ImageFiles,
        workers: Executor,
        settings: PlatesSettings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._wells = wells
        self._plates = plates
        self._files = files
        self._workers = workers
        self._clock = clock
        self.most_bytes = int(settings.max_upload_mb * 1e6)
        self._most_pixels = int(settings.max_megapixels * 1e6)
        self._lock = threading.Lock()
        self._drawings: dict[tuple[str, int], Future[None]] = {}

    def _well(self, well_id: int, barcode: str | None) -> Mapping[str, Any]:
        plate_id = None if barcode is None else self._plates.one(barcode)["id"]
        return self._wells.one(well_id, plate_id)

    def of_well(self, well_id: int, barcode: str | None, url_of: UrlOf) -> list[Answer]:
        """Return the images of a well, newest first."""
        self._well(well_id, barcode)
        return [answers.image(item, url_of) for item in self._store.of_wells([well_id])]

    def find(self, text: str, limit: int) -> list[Mapping[str, Any]]:
        """Return images, newest first, by words of their name or description."""
        return list(self._store.find(text, limit))

    def of_plate(self, barcode: str) -> list[Mapping[str, Any]]:
        """Return the images of a plate in the order of its wells, with plate and well."""
        return list(self._store.of_plate(int(self._plates.one(barcode)["id"])))

    def anywhere(self, image_id: int) -> Mapping[str, Any]:
        """Return an image with its plate and well, whichever they are."""
        return self._store.anywhere(image_id)

    def one(self, well_id: int, image_id: int, barcode: str | None, url_of: UrlOf) -> Answer:
        """Return an image with its place on the plate."""
        self._well(well_id, barcode)
        return answers.image_details(self._store.one(well_id, image_id), url_of)

    def create(
        self,
        well_id: int,
        body: Mapping[str, Any],
        file: BinaryIO | None,
        filename: str,
        barcode: str | None,
        url_of: UrlOf,
    ) -> Answer:
        """Take in an image; its kind and size are read from its header, no pixel is decoded.

        Raises
        ------
        MissingParameter
            The form has no ``image`` part at all.
        Unacceptable
            A number is missing or wrong, or the file is no image, or one of too many pixels.
        """
        self._well(well_id, barcode)
        given = root(body, "image", (*_IMAGE_COLUMNS, "file"))
        draft = Draft(given)
        values = self._checked(draft)
        header = self._header(draft, file)
        if header is not None and values["pixel_width"] is None:
            values = {**values, "pixel_width": header.width, "pixel_height": header.height}
        if draft.reasons or file is None or header is None:
            raise Unacceptable("create image", draft.reasons)
        with self._files.kept(file) as stored:
            made = self._store.create(
                well_id,
                {
                    **values,
                    "filename": _base_name(filename),
                    "content_type": header.content_type,
                    "byte_size": stored.byte_size,
                    "sha256": stored.sha256,
                },
            )
        # Where there is too much work already, it is drawn when somebody asks for it.
        with contextlib.suppress(BenchwireError):
            self._draw(stored.sha256, PREVIEWS[0])
        return answers.image_details(made, url_of)

    def update(
        self,
        well_id: int,
        image_id: int,
        body: Mapping[str, Any],
        barcode: str | None,
        url_of: UrlOf,
    ) -> Answer:
        """Change what is said of an image; its file stays."""
        self._well(well_id, barcode)
        record = self._store.one(well_id, image_id)
        draft = Draft(root(body, "image", (*_IMAGE_COLUMNS, "file")), record)
        values = self._checked(draft)
        if values["pixel_width"] is None and not draft.reasons:
            with self._files.path(record["sha256"]).open("rb") as file:
                header = self._header(draft, file)
            if header is not None:
                values = {**values, "pixel_width": header.width, "pixel_height": header.height}
        if draft.reasons:
            raise Unacceptable("update image", draft.reasons)
        sizes = ("pixel_width", "pixel_height")
        only = {*draft.given, *(sizes if any(map(draft.is_given, sizes)) else ())}
        self._store.update(image_id, {key: values[key] for key in only if key in values})
        return self.one(well_id, image_id, barcode, url_of)

    def delete(self, well_id: int, image_id: int, barcode: str | None) -> None:
        """Delete an image with its points and, where no other has the same, its file."""
        self._well(well_id, barcode)
        record = self._store.one(well_id, image_id)
        self._store.delete(image_id)
        self._files.discard([record["sha256"]])

    def file(
        self, well_id: int, image_id: int, barcode: str | None = None
    ) -> tuple[Path, Mapping[str, Any]]:
        """Return where an image's file is, and the image."""
        self._well(well_id, barcode)
        record = self._store.one(well_id, image_id)
        path = self._files.path(record["sha256"])
        if not path.is_file():
            raise RecordNotFound("File", "image", image_id)
        return path, record

    def preview(
        self, well_id: int, image_id: int, pixels: int, barcode: str | None = None
    ) -> "Future[tuple[Path, str]]":
        """Return the promise of a smaller version of an image and its content type.

        It fails with `Unacceptable` where the image's pixels cannot be decoded.
        """
        promise: Future[tuple[Path, str]] = Future()
        path, record = self.file(well_id, image_id, barcode)
        wanted = min((size for size in PREVIEWS if size >= pixels), default=PREVIEWS[-1])
        target = self._files.preview(record["sha256"], wanted)
        if record["content_type"] in SHOWN_BY_BROWSERS and _is_within(path, wanted):
            promise.set_result((path, record["content_type"]))
        elif target.is_file():
            promise.set_result((target, "image/webp"))
        else:
            self._draw(record["sha256"], wanted).add_done_callback(
                lambda drawn: _keep(promise, drawn, target)
            )
        return promise

    def _draw(self, sha256: str, pixels: int) -> "Future[None]":
        """Have a preview drawn, once however many ask for it.

        Pixels that cannot be decoded are remembered; a full disk or a file that is gone is not.
        """
        key = (sha256, pixels)
        with self._lock:
            if key in self._drawings:
                return self._drawings[key]
            drawing = self._workers.submit(
                draw_preview,
                str(self._files.path(sha256)),
                str(self._files.preview(sha256, pixels)),
                pixels,
                self._most_pixels,
                time_limit=PREVIEW_SECONDS,
            )
            self._drawings[key] = drawing
            while len(self._drawings) > _MOST_DRAWINGS:
                self._drawings.pop(next(iter(self._drawings)))
        drawing.add_done_callback(lambda done: self._drawn(key, done))
        return drawing

    def _drawn(self, key: tuple[str, int], done: "Future[None]") -> None:
        error = None if done.cancelled() else done.exception()
        # Pillow's own errors have no number; those of the system do.
        if error is None or (isinstance(error, OSError) and error.errno is not None):
            with self._lock:
                self._drawings.pop(key, None)
        # The image may have been deleted while it was drawn. Asked in a thread of its own: this one
        # serves the pool, and plots are not to wait for a database that is away.
        promised(lambda: self._files.discard([key[0]]))

    def _checked(self, draft: Draft) -> Answer:
        """Take an image's values, and note what is wrong with them."""
        for key in answers.IMAGE_NUMBERS:
            if key.startswith("pixel"):
                draft.number(key, required=True, above=0, places=6, below=1e4)
            else:
                draft.number(key, required=True, places=6, below=1e6)
        self._take_size(draft)
        draft.text("description", longest=None)
        draft.moment("captured_at", self._clock.now())
        kept = {key: draft.values.get(key) for key in _IMAGE_COLUMNS}
        return {
            key: value for key, value in kept.items() if value is not None or key != "captured_at"
        }

    @staticmethod
    def _take_size(draft: Draft) -> None:
        sizes = []
        for key in ("pixel_width", "pixel_height"):
            before = len(draft.reasons)
            number = draft.integer(key, above=0)
            if len(draft.reasons) > before:
                del draft.reasons[before:]
                draft.refuse(key, "must be a positive integer")
                number = -1
            sizes.append(number)
        if sizes.count(None) == 1:
            draft.refuse("pixel_width" if sizes[0] is None else "pixel_height", "can't be blank")
            draft.reasons.append(_TOO_FEW)

    def _header(self, draft: Draft, file: BinaryIO | None) -> Header | None:
        if file is None or not file.read(1):
            is_text = file is None and draft.is_given("file") and draft.text("file")
            draft.refuse("file", "must be an image" if is_text else "can't be blank")
            return None
        try:
            header = read_header(file)
        except NotAnImage:
            draft.refuse("file", "must be an image")
            return None
        if header.width * header.height > self._most_pixels:
            draft.refuse("file", f"has more than {self._most_pixels / 1e6:g} megapixels")
            return None
        if header.is_bomb(file.seek(0, os.SEEK_END)):
            draft.refuse("file", "is far smaller than its pixels")
            return None
        return header

    # -- points of interest -----------------------------------------------------------------

    def points(self, well_id: int, image_id: int, barcode: str | None) -> list[Answer]:
        """Return the points on an image, newest first."""
        self._well(well_id, barcode)
        self._store.one(well_id, image_id)
        return [answers.point(item) for item in self._store.points_of(image_id)]

    def points_everywhere(
        self, kinds: tuple[str, ...] = (), limit: int | None = None
    ) -> list[Answer]:
        """Return the points of some types on all plates, newest first."""
        return [answers.point_alone(item) for item in self._store.points_of_type(kinds, limit)]

    def point(
        self, point_id: int, place: tuple[int, int] | None = None, barcode: str | None = None
    ) -> Answer:
        """Return a point, of that well and image if they are named."""
        if place is None:
            return answers.point_alone(self._store.point(point_id))
        self._well(place[0], barcode)
        self._store.one(*place)
        return answers.point(self._store.point(point_id, place[1]))

    def create_point(
        self, well_id: int, image_id: int, body: Mapping[str, Any], barcode: str | None
    ) -> Answer:
        """Mark a point on an image."""
        self._well(well_id, barcode)
        image = self._store.one(well_id, image_id)
        draft = Draft(root(body, "point_of_interest", _POINT_COLUMNS))
        self._check_point(draft, image)
        if draft.reasons:
            raise Unacceptable("create point of interest", draft.reasons)
        return answers.point(self._store.create_point(image_id, draft.values))

    def update_point(
        self,
        point_id: int,
        body: Mapping[str, Any],
        place: tuple[int, int] | None = None,
        barcode: str | None = None,
    ) -> Answer:
        """Change a point."""
        self.point(point_id, place, barcode)
        record = self._store.point(point_id)
        draft = Draft(root(body, "point_of_interest", _POINT_COLUMNS), record)
        self._check_point(draft, self._store.one(record["well_id"], record["image_id"]))
        if draft.reasons:
            raise Unacceptable("update point of interest", draft.reasons)
        self._store.update_point(point_id, draft.given)
        return self.point(point_id, place, barcode)

    def delete_point(
        self, point_id: int, place: tuple[int, int] | None = None, barcode: str | None = None
    ) -> None:
        """Remove a point."""
        self.point(point_id, place, barcode)
        self._store.delete_point(point_id)

    def _check_point(self, draft: Draft, image: Mapping[str, Any]) -> None:
        for key, size, word in (
            ("pixel_x", image["pixel_width"], "width"),
            ("pixel_y", image["pixel_height"], "height"),
        ):
            number = draft.integer(key, required=True, least=0)
            if number is not None and number >= size:
                draft.reasons.append(f"{in_words(key)} must be within image {word} ({size} pixels)")
        draft.choice("point_type", POINT_TYPES, "crystal")
        draft.text("description", longest=None)
        draft.moment("marked_at", self._clock.now())


def _is_within(path: Path, pixels: int) -> bool:
    """Whether an image is no larger than so many pixels, by the file and not by what was said."""
    try:
        with path.open("rb") as file:
            header = read_header(file)
    except (NotAnImage, OSError):
        return False
    return max(header.width, header.height) <= pixels


def _keep(promise: "Future[tuple[Path, str]]", drawn: "Future[None]", target: Path) -> None:
    if drawn.cancelled() or drawn.exception() is not None:
        promise.set_exception(Unacceptable("draw preview", ["File cannot be decoded"]))
    else:
        promise.set_result((target, "image/webp"))


def _base_name(filename: str) -> str:
    """Return a file's name without any folder, as either kind of system writes them."""
    name = PureWindowsPath(PurePosixPath(filename).name).name
    plain = "".join(c for c in name if unicodedata.category(c)[0] != "C").strip()
    return plain[-255:] or "image"
