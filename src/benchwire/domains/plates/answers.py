"""Records as the API shows them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from benchwire.domains.plates.amounts import plain_number
from benchwire.domains.plates.labels import location_label, well_label
from benchwire.domains.plates.scores import SCORES

Record = Mapping[str, Any]
Answer = dict[str, Any]

IMAGE_NUMBERS = (
    "pixel_size_x_mm", "pixel_size_y_mm", "reference_x_mm", "reference_y_mm", "reference_z_mm",
)  # fmt: skip
COORDINATES = ("x_mm", "y_mm", "z_mm")


def stamp(moment: datetime) -> str:
    """Return a moment as this API writes it: UTC to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stamps(record: Record) -> Answer:
    return {
        "created_at": stamp(record["created_at"]),
        "updated_at": stamp(record["updated_at"]),
    }


# -- places and plates -------------------------------------------------------------------------


def place(location_id: int | None, record: Record, name: str = "name") -> Answer | None:
    """Return a location in short, None for none."""
    if location_id is None:
        return None
    carousel, hotel = record["carousel_position"], record["hotel_position"]
    return {
        "id": location_id,
        "display_name": location_label(location_id, carousel, hotel, record[name]),
        "carousel_position": carousel,
        "hotel_position": hotel,
        "name": record[name],
    }


def location(record: Record) -> Answer:
    """Return a location with its stamps."""
    return {**(place(record["id"], record) or {}), **_stamps(record)}


def location_element(record: Record) -> Answer:
    """Return a location in a list."""
    return {**location(record), "current_plate_barcode": record["barcode"]}


def location_details(record: Record) -> Answer:
    """Return a location with the plate that is there."""
    there = plates_there(record)
    return {
        **location_element(record),
        "current_plates": there,
        "is_occupied": bool(there),
        "plates_count": len(there),
    }


def plates_there(record: Record) -> list[Answer]:
    """Return the plates at a location: one or none."""
    if record["barcode"] is None:
        return []
    return [{"barcode": record["barcode"], "wells_count": record["wells_count"]}]


def plate(record: Record) -> Answer:
    """Return a plate in a list."""
    name = record["name"]
    shown = f"{record['barcode']} ({name})" if name and name.strip() else record["barcode"]
    best = record["best_score"]
    return {
        "id": record["id"],
        "barcode": record["barcode"],
        "name": name,
        "display_name": shown,
        **_stamps(record),
        "rows": record["rows"],
        "columns": record["columns"],
        "subwells_per_well": record["subwells_per_well"],
        "current_location": place(record["current_location_id"], record, "location_name"),
        "wells_count": record["wells_count"],
        "points_of_interest_count": record["points_count"],
        "best_score": None if best is None else {"score": best, "name": SCORES[best]},
        "deleted_at": None if record["deleted_at"] is None else stamp(record["deleted_at"]),
    }


def plate_details(record: Record, wells: Sequence[Record], points: Sequence[Record]) -> Answer:
    """Return a plate with its wells and the points marked on its images."""
    return {
        **plate(record),
        "wells": [well_in_plate(item) for item in wells],
        "points_of_interest": [point_in_plate(item) for item in points],
    }


def movement(record: Record) -> Answer:
    """Return a plate's movement; no location means that it was taken away."""
    return {
        "location": place(record["location_id"], record, "location_name"),
        "moved_at": stamp(record["moved_at"]),
        "moved_by": record["moved_by"],
    }


def arrival(record: Record) -> Answer:
    """Return a plate's arrival at a location."""
    return {
        "plate": {"barcode": record["barcode"], "wells_count": record["wells_count"]},
        "moved_at": stamp(record["moved_at"]),
        "moved_by": record["moved_by"],
    }


# -- wells -------------------------------------------------------------------------------------


def well_in_plate(record: Record) -> Answer:
    """Return a well in its plate."""
    return {
        "id": record["id"],
        "well_row": record["well_row"],
        "well_column": record["well_column"],
        "subwell": record["subwell"],
        "position": well_label(record["well_row"], record["well_column"]),
    }


def well(record: Record) -> Answer:
    """Return a well in a list."""
    label = well_label(record["well_row"], record["well_column"])
    return {
        **well_in_plate(record),
        "plate_id": record["plate_id"],
        "plate_barcode": record["plate_barcode"],
        "well_label": label,
        "well_label_with_subwell": f"{label}-{record['subwell']}",
        **{key: record[key] for key in COORDINATES},
        "has_coordinates": all(record[key] is not None for key in COORDINATES),
        "contents_count": record["contents_count"],
        "images_count": record["images_count"],
    }


def well_details(
    record: Record,
    contents: Sequence[Record],
    images: Sequence[Record],
    url_of: Callable[[Record], str],
) -> Answer:
    """Return a well with what is in it and what was seen there."""
    return {
        **well(record),
        "well_contents": [
            {
                "id": item["id"],
                "stock_solution": item["solution_name"],
                "volume": volume_text(item),
                "stock_solution_id": item["stock_solution_id"],
                "amount": item["volume"],
                "unit": unit_in_short(item),
            }
            for item in contents
        ],
        "images": [
            {
                "id": item["id"],
                "filename": item["filename"],
                "description": item["description"],
                "captured_at": stamp(item["captured_at"]),
                "pixel_size_x_mm": item["pixel_size_x_mm"],
                "pixel_size_y_mm": item["pixel_size_y_mm"],
                "file_url": url_of(item),
            }
            for item in images
        ],
        **_stamps(record),
    }


def volume_text(record: Record) -> str:
    """Return a content's volume: ``50.0 µl``."""
    return f"{record['volume']!r} {record['unit_symbol']}"


def content(record: Record) -> Answer:
    """Return a content of a well."""
    return {
        "id": record["id"],
        "well_id": record["well_id"],
        "stock_solution": record["solution_name"],
        "stock_solution_id": record["stock_solution_id"],
        "volume": volume_text(record),
        "volume_value": record["volume"],
        "unit": unit_in_short(record),
        **_stamps(record),
    }


def score(record: Record) -> Answer:
    """Return a drop's score."""
    return {
        "id": record["id"],
        "well_id": record["well_id"],
        "image_id": record["image_id"],
        "score": record["score"],
        "name": SCORES[record["score"]],
        "note": record["note"],
        "scored_at": stamp(record["scored_at"]),
        "scored_by": record["scored_by"],
    }


# -- images and points -------------------------------------------------------------------------


def image(record: Record, url_of: Callable[[Record], str]) -> Answer:
    """Return an image in a list."""
    return {
        "id": record["id"],
        **{key: record[key] for key in IMAGE_NUMBERS},
        "captured_at": stamp(record["captured_at"]),
        "description": record["description"],
        "filename": record["filename"],
        "file_url": url_of(record),
        "pixel_width": record["pixel_width"],
        "pixel_height": record["pixel_height"],
    }


def image_details(record: Record, url_of: Callable[[Record], str]) -> Answer:
    """Return an image with its size and place on the plate in mm."""
    width = round(record["pixel_width"] * record["pixel_size_x_mm"], 6)
    height = round(record["pixel_height"] * record["pixel_size_y_mm"], 6)
    left, top = record["reference_x_mm"], record["reference_y_mm"]
    return {
        **image(record, url_of),
        "physical_width_mm": width,
        "physical_height_mm": height,
        "bounding_box": {
            "min_x": left,
            "min_y": top,
            "max_x": round(left + width, 6),
            "max_y": round(top + height, 6),
            "z": record["reference_z_mm"],
        },
        "file_size": record["byte_size"],
        "file_content_type": record["content_type"],
        "sha256": record["sha256"],
        "well_id": record["well_id"],
        **_stamps(record),
    }


def point(record: Record) -> Answer:
    """Return a point marked on an image, in pixels and on the plate in mm."""
    x, y, kind = record["pixel_x"], record["pixel_y"], record["point_type"].capitalize()
    text = record["description"]
    return {
        "id": record["id"],
        "pixel_x": x,
        "pixel_y": y,
        "real_world_x_mm": round(record["reference_x_mm"] + x * record["pixel_size_x_mm"], 6),
        "real_world_y_mm": round(record["reference_y_mm"] + y * record["pixel_size_y_mm"], 6),
        "real_world_z_mm": record["reference_z_mm"],
        "point_type": record["point_type"],
        "description": text,
        "marked_at": stamp(record["marked_at"]),
        "display_name": f"{kind}: {text}" if text else f"{kind} at ({x}, {y})",
        **_stamps(record),
    }


def point_in_plate(record: Record) -> Answer:
    """Return a point in its plate's list."""
    return {
        **point(record),
        "image_id": record["image_id"],
        "well": {
            "id": record["well_id"],
            "well_row": record["well_row"],
            "well_column": record["well_column"],
            "position": well_label(record["well_row"], record["well_column"]),
        },
    }


def point_alone(record: Record) -> Answer:
    """Return a point in a list over all plates."""
    return {
        **point(record),
        "image": {
            "id": record["image_id"],
            "filename": record["filename"],
            "well_id": record["well_id"],
        },
        "well": {"id": record["well_id"], "plate_barcode": record["plate_barcode"]},
    }


# -- chemistry ---------------------------------------------------------------------------------


def unit_in_short(record: Record) -> Answer:
    """Return the unit of a component or content."""
    return {
        "id": record["unit_id"],
        "name": record["unit_name"],
        "symbol": record["unit_symbol"],
    }


def unit(record: Record) -> Answer:
    """Return a unit."""
    return {
        "id": record["id"],
        "name": record["name"],
        "symbol": record["symbol"],
        "conversion_to_base": record["conversion_to_base"],
        "display_name": f"{record['name']} ({record['symbol']})",
        "can_be_deleted": not record["is_used"],
        **_stamps(record),
    }


def found_chemical(record: Record) -> Answer:
    """Return a chemical found by a search."""
    name, cas = record["name"], record["cas"]
    return {
        "id": record["id"],
        "name": name,
        "cas": cas,
        "barcode": record["barcode"],
        "display_text": f"{name} (CAS: {cas})" if cas else name,
    }


def chemical(record: Record) -> Answer:
    """Return a chemical."""
    return {
        **found_chemical(record),
        **{key: record[key] for key in ("smiles", "amount", "storage", "sciformation_id")},
        "used_in_stock_solutions_count": record["used"],
        "can_be_deleted": not record["used"],
        **_stamps(record),
    }


def component(record: Record) -> Answer:
    """Return a component of a stock solution."""
    amount = f"{record['amount']!r} {record['unit_symbol']}"
    return {
        "id": record["id"],
        "chemical": {"id": record["chemical_id"], "name": record["chemical_name"]},
        "amount": record["amount"],
        "unit": unit_in_short(record),
        "display_amount": amount,
        "formatted_component": f"{record['chemical_name']} ({amount})",
    }


def solution(record: Record, components: Sequence[Record]) -> Answer:
    """Return a stock solution in a list."""
    return {
        "id": record["id"],
        "name": record["name"],
        "description": record["description"],
        "display_name": record["name"],
        "component_summary": ", ".join(
            f"{part['chemical_name']} ({plain_number(part['amount'])} {part['unit_symbol']})"
            for part in components
        ),
        "total_components": len(components),
        "used_in_wells_count": record["used"],
        "can_be_deleted": not record["used"],
        **_stamps(record),
    }


def solution_details(record: Record, components: Sequence[Record]) -> Answer:
    """Return a stock solution with its components."""
    return {
        **solution(record, components),
        "components": [component(part) for part in components],
    }


def prototype(record: Record) -> Answer:
    """Return a plate prototype in a list."""
    return {
        "id": record["id"],
        "name": record["name"],
        "description": record["description"],
        "wells_count": record["wells_count"],
        **_stamps(record),
    }


def prototype_details(record: Record, wells: Sequence[Record]) -> Answer:
    """Return a plate prototype with its wells."""
    return {
        **prototype(record),
        "wells": [{**well_in_plate(item), **{key: item[key] for key in COORDINATES}}
                  for item in wells],
    }  # fmt: skip
