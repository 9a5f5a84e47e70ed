"""Which addresses may be named, and in what spelling they count."""

from pathlib import Path

import pytest

from benchwire.domains.stores.addresses import AllowedAddresses, parsed
from benchwire.domains.stores.errors import AddressInvalid, StoreForbidden
from benchwire.domains.stores.settings import StoresSettings
from benchwire.foundation.settings import SettingsInvalid

STORES = AllowedAddresses(["s3://lab/open", "gs://other"])


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("s3://lab", "s3://lab"),
        ("s3://lab/", "s3://lab"),
        ("s3://lab/open/a b.ome.zarr/", "s3://lab/open/a b.ome.zarr"),
        ("gs://lab.example/ü/pos[1] #2.tif", "gs://lab.example/ü/pos[1] #2.tif"),
    ],
)
def test_an_address_has_one_spelling(text: str, spelling: str) -> None:
    assert parsed(text) == spelling
    assert parsed(spelling) == spelling


@pytest.mark.parametrize(
    "text",
    [
        "", "lab/open", "s3:/lab/open", "s3://", "s3:///open", "S3://lab/open",
        "file:///etc/passwd", "memory://a", "http://127.0.0.1/latest", "local://a",
        "s3://" + "user:secret" + "@lab/open", "s3://lab/open/../closed", "s3://lab/open/./x",
        "s3://lab/open//x", "s3://lab/open/x?versionId=1", "sftp://lab/open",
        "s3://lab/open/*", "s3://lab/a\\b", "s3://lab/a\0b", "s3://lab/a\nb",
        "simplecache::s3://lab/open", "s3://lab/open::file:///etc", "s3://lab/\ud800",
        "s3://lab/" + "x" * 2000, "s3://../open", "s3://.lab/open",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressInvalid):
        parsed(text)


@pytest.mark.parametrize("text", ["s3://lab/open", "s3://lab/open/a/b", "gs://other/x"])
def test_an_address_in_a_store_is_allowed(text: str) -> None:
    assert STORES.address(text) == text


@pytest.mark.parametrize(
    "text", ["s3://lab", "s3://lab/closed", "s3://lab/opened", "gs://others/x", "abfs://lab/open"]
)
def test_an_address_in_no_store_is_forbidden(text: str) -> None:
    with pytest.raises(StoreForbidden):
        STORES.address(text)


def test_no_store_is_open_unless_one_is_set() -> None:
    with pytest.raises(StoreForbidden):
        AllowedAddresses([]).address("s3://lab/open")


def test_stores_are_set_in_the_file_and_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "benchwire.toml").write_text('[stores]\nurls = ["s3://lab/open/"]\n')
    assert StoresSettings.load(tmp_path).urls == ("s3://lab/open",)
    monkeypatch.setenv("BENCHWIRE_STORES_URLS", "s3://a, s3://b/c/")
    assert StoresSettings.load(tmp_path).urls == ("s3://a", "s3://b/c")
    monkeypatch.setenv("BENCHWIRE_STORES_URLS", "file:///etc")
    with pytest.raises(SettingsInvalid, match="urls"):
        StoresSettings.load(tmp_path)
