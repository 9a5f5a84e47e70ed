"""An object store that speaks S3, on loopback."""

import logging
from types import TracebackType
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from tests.support.ports import free_port

BUCKET = "lab-movies"
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIABENCHWIRETEST",
    "AWS_SECRET_ACCESS_KEY": "a secret of the object store",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class ObjectStore:
    """A store with one bucket; ``client`` sees it as others do."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=KEYS["AWS_DEFAULT_REGION"],
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        self.empty()

    def environment(self, url: str | None = None) -> dict[str, str]:
        """Return what a server is told of the store, reached by another address if one is given."""
        return {**KEYS, "AWS_ENDPOINT_URL": url or self.url}

    def empty(self) -> None:
        """Begin anew: all stores of a process have the same objects."""
        self.client.create_bucket(Bucket=BUCKET)
        for name in self.names():
            self.client.delete_object(Bucket=BUCKET, Key=name)

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def names(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def __enter__(self) -> "ObjectStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()
