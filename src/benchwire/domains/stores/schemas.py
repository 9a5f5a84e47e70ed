"""What requests carry."""

from pydantic import BaseModel, Field


class CopyRequest(BaseModel):
    """A copy from a store to here, or from here to a store."""

    source: str = Field(
        max_length=4096,
        description="Address in a store, or absolute path of a file or folder here.",
        examples=["s3://lab-movies/2026-05-04/cells.ome.zarr"],
    )
    target: str = Field(
        max_length=4096,
        description="Path here, or address in a store, at which nothing is yet.",
        examples=["/data/movies/cells.ome.zarr"],
    )
