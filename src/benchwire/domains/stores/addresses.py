"""Addresses in object stores, and which of them requests may name."""

import re
from collections.abc import Sequence

from benchwire.domains.stores.errors import AddressInvalid, StoreForbidden

PROTOCOLS = ("s3", "gs", "abfs")
"""Object stores; fsspec has a library for each."""

_MOST_CHARACTERS = 1024
_ADDRESS = re.compile(r"([a-z0-9]+)://([A-Za-z0-9][A-Za-z0-9._-]*)((?:/.*)?)", re.DOTALL)
# Patterns, versions and chains to the libraries, or no text at all.
_TAKEN = re.compile(r"[\x00-\x1f\x7f\\*?\ud800-\udfff]|::")


def is_address(text: str) -> bool:
    """Whether a text is meant as the address of something in a store."""
    return "://" in text


def parsed(text: str) -> str:
    """Return an address in its one spelling, ``s3://bucket/folder/name``, with no slash at its end.

    Raises
    ------
    AddressInvalid
        It is no such address, carries a name or a password, or has parts such as ``..``.
    """
    found = _ADDRESS.fullmatch(text) if len(text) <= _MOST_CHARACTERS else None
    if found is None:
        raise AddressInvalid(
            "This is not the address of anything in a store",
            hint="It has the form s3://bucket/folder/name.",
        )
    if taken := _TAKEN.search(text):
        raise AddressInvalid(f"An address cannot have {taken.group()!a} in it")
    protocol, bucket, rest = found.groups()
    if protocol not in PROTOCOLS:
        raise AddressInvalid(
            f"{protocol} is not a supported kind of store",
            hint=f"There are: {', '.join(PROTOCOLS)}.",
        )
    parts = rest.strip("/").split("/") if rest.strip("/") else []
    if any(part in {"", ".", ".."} for part in parts):
        raise AddressInvalid("A part of the address is empty, or only points")
    return "/".join([f"{protocol}://{bucket}", *parts])


class AllowedAddresses:
    """The places in object stores that requests may name; none unless some are set."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = tuple(urls)

    def address(self, text: str) -> str:
        """Return the address that a request names, in its one spelling.

        Raises
        ------
        AddressInvalid
            It is none.
        StoreForbidden
            It is not in a store, or in a folder of one, that was set.
        """
        address = parsed(text)
        if not any(f"{address}/".startswith(f"{url}/") for url in self.urls):
            raise StoreForbidden(
                "This address is in no store that may be used",
                hint="Whoever runs the server sets them as urls of [stores].",
            )
        return address
