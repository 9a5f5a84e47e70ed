"""Images of wells, points marked on them, and which files are still in use."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from benchwire.domains.plates.errors import RecordNotFound
from benchwire.domains.plates.store.records import Records, Row, only_row, paged
from benchwire.domains.plates.store.wells import plate_of
from benchwire.domains.plates.tables import images, plates, points, wells


class ImageStore(Records):
    """Images and points of interest."""

    # -- images -----------------------------------------------------------------------------

    def of_wells(self, well_ids: Sequence[int]) -> list[Row]:
        """Return the images of some wells, newest first."""
        return self._read(
            sa.select(images)
            .where(images.c.well_id.in_(well_ids))
            .order_by(images.c.captured_at.desc(), images.c.created_at.desc(), images.c.id.desc())
        )

    def one(self, well_id: int, image_id: int) -> Row:
        """Return an image of a well.

        Raises
        ------
        RecordNotFound
            There is none, or it belongs to another well.
        """
        found = self._read(
            sa.select(images).where(images.c.id == image_id, images.c.well_id == well_id)
        )
        if not found:
            raise RecordNotFound("Image", "id", image_id)
        return found[0]

    def find(self, text: str, limit: int) -> list[Row]:
        """Return images of live plates, newest first, by words of their name or description."""
        shown = (images.c.filename, images.c.description)
        matching = sa.or_(*(column.icontains(text, autoescape=True) for column in shown))
        return self._read(
            _with_wells().where(matching).order_by(images.c.captured_at.desc()).limit(limit)
        )

    def of_plate(self, plate_id: int) -> list[Row]:
        """Return the images of a live plate in the order of its wells, with plate and well."""
        order = (wells.c.well_row, wells.c.well_column, wells.c.subwell, images.c.id)
        return self._read(_with_wells().where(wells.c.plate_id == plate_id).order_by(*order))

    def anywhere(self, image_id: int) -> Row:
        """Return an image of a live plate with its plate and well.

        Raises
        ------
        RecordNotFound
            There is none.
        """
        found = self._read(_with_wells().where(images.c.id == image_id))
        if not found:
            raise RecordNotFound("Image", "id", image_id)
        return found[0]

    def create(self, well_id: int, values: Mapping[str, Any]) -> Row:
        """Note an image whose file is on the disk already, and return it."""

        def work(connection: sa.Connection) -> Row:
            place = {"well_id": well_id, "plate_id": plate_of(connection, well_id)}
            made = self._put(connection, images, None, {**values, **place})
            return only_row(connection, sa.select(images).where(images.c.id == made))

        return self._write("create image", work)

    def update(self, image_id: int, values: Mapping[str, Any]) -> None:
        """Change what is said of an image."""
        self._write("update image", lambda c: self._put(c, images, image_id, values))

    def delete(self, image_id: int) -> None:
        """Forget an image with its points."""
        self._write(
            "delete image",
            lambda connection: connection.execute(images.delete().where(images.c.id == image_id)),
        )

    def used(self, files: Sequence[str]) -> set[str]:
        """Return which contents some image still has."""
        query = sa.select(images.c.sha256).where(images.c.sha256.in_(files)).distinct()
        return {str(row["sha256"]) for row in self._read(query)}

    def all_files(self) -> set[str]:
        """Return the contents of all images."""
        return {str(row["sha256"]) for row in self._read(sa.select(images.c.sha256).distinct())}

    # -- points -----------------------------------------------------------------------------

    def points_of(self, image_id: int) -> list[Row]:
        """Return the points on an image, newest first."""
        return self._points(points.c.image_id == image_id)

    def points_of_plate(self, plate_id: int) -> list[Row]:
        """Return the points on all images of a plate, newest first."""
        return self._points(images.c.plate_id == plate_id)

    def points_of_type(self, kinds: Sequence[str], limit: int | None) -> list[Row]:
        """Return the points of some types on all live plates, newest first; of all if none."""
        condition = points.c.point_type.in_(kinds) if kinds else sa.true()
        return self._points(condition, 0, limit)

    def point(self, point_id: int, image_id: int | None = None) -> Row:
        """Return a point, on that image if it is named.

        Raises
        ------
        RecordNotFound
            There is none.
        """
        condition = points.c.id == point_id
        if image_id is not None:
            condition &= points.c.image_id == image_id
        found = self._points(condition)
        if not found:
            raise RecordNotFound("PointOfInterest", "id", point_id)
        return found[0]

    def create_point(self, image_id: int, values: Mapping[str, Any]) -> Row:
        """Mark a point and return it."""

        def work(connection: sa.Connection) -> Row:
            made = self._put(connection, points, None, {**values, "image_id": image_id})
            return only_row(connection, _with_images().where(points.c.id == made))

        return self._write("create point of interest", work)

    def update_point(self, point_id: int, values: Mapping[str, Any]) -> None:
        """Change a point."""
        self._write("update point of interest", lambda c: self._put(c, points, point_id, values))

    def delete_point(self, point_id: int) -> None:
        """Remove a point."""
        self._write(
            "delete point of interest",
            lambda connection: connection.execute(points.delete().where(points.c.id == point_id)),
        )

    def _points(
        self, condition: sa.ColumnElement[bool], offset: int = 0, limit: int | None = None
    ) -> list[Row]:
        query = (
            _with_images()
            .where(plates.c.deleted_at.is_(None), condition)
            .order_by(points.c.marked_at.desc(), points.c.id.desc())
        )
        return self._read(paged(query, offset, limit))


def _with_wells() -> sa.Select[Any]:
    """Return a query of the images of live plates with plate and well."""
    return (
        sa.select(
            images,
            plates.c.barcode.label("plate_barcode"),
            wells.c.well_row,
            wells.c.well_column,
            wells.c.subwell,
        )
        .select_from(
            images.join(wells, images.c.well_id == wells.c.id).join(
                plates, wells.c.plate_id == plates.c.id
            )
        )
        .where(plates.c.deleted_at.is_(None))
    )


def _with_images() -> sa.Select[Any]:
    """Return a query of points with image, well and plate."""
    return sa.select(
        points,
        images.c.well_id,
        images.c.filename,
        images.c.pixel_size_x_mm,
        images.c.pixel_size_y_mm,
        images.c.reference_x_mm,
        images.c.reference_y_mm,
        images.c.reference_z_mm,
        wells.c.well_row,
        wells.c.well_column,
        plates.c.barcode.label("plate_barcode"),
    ).select_from(
        points.join(images, images.c.id == points.c.image_id)
        .join(wells, wells.c.id == images.c.well_id)
        .join(plates, plates.c.id == wells.c.plate_id)
    )
