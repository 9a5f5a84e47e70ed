"""Movies of several files: which files they are, and where these may be."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from benchwire.domains.microscopy.errors import FileUnreadable
from benchwire.domains.microscopy.plan import MovieInfo
from benchwire.domains.microscopy.readers import linked_paths, open_movie, opened
from tests.domains.microscopy.readers import test_czi
from tests.domains.microscopy.readers.nd2_writer import write_nd2
from tests.domains.microscopy.readers.support import HEIGHT, WIDTH, assert_pixels, planes

PIXELS = planes(2, 3)
OPTIONS = pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=str)


def ome_xml(own: str, images: Sequence[Sequence[str]]) -> str:
    """OME-XML with the name of the file that holds the next frames, one after the other."""
    used = dict.fromkeys((name for names in images for name in names), 0)
    text = ""
    for number, names in enumerate(images):
        data = ""
        for frame, name in enumerate(names):
            data += (
                f'<TiffData FirstT="{frame}" IFD="{used[name]}" PlaneCount="1">'
                f'<UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
            )
            used[name] += 1
        text += (
            f'<Image ID="Image:{number}"><Pixels ID="Pixels:{number}" DimensionOrder="XYCZT" '
            f'Type="uint16" SizeX="{WIDTH}" SizeY="{HEIGHT}" SizeC="1" SizeZ="1" '
            f'SizeT="{len(names)}"><Channel ID="Channel:{number}:0" SamplesPerPixel="1"/>'
            f"{data}</Pixels></Image>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="urn:uuid:{own}">{text}</OME>'
    )


def write_file(
    path: Path, pixels: np.ndarray, images: Sequence[Sequence[str]], **options: object
) -> Path:
    """Write the planes of one file of a set, with the OME-XML of the whole."""
    path.parent.mkdir(exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        for page, plane in enumerate(pixels):
            description = ome_xml(path.name, images) if page == 0 else None
            file.write(plane, description=description, metadata=None, contiguous=False, **options)
    return path


def info_of(path: Path) -> MovieInfo:
    with opened(path) as movie:
        return movie.info


@OPTIONS
@pytest.mark.parametrize(
    ("named", "other"), [("a.ome.tif", "b.ome.tif"), ("b.ome.tif", "a.ome.tif")]
)
def test_image_in_two_files_is_read_from_both(
    tmp_path: Path, named: str, other: str, options: dict
) -> None:
    images = [["a.ome.tif", "a.ome.tif", "b.ome.tif", "a.ome.tif"]]
    write_file(tmp_path / "a.ome.tif", PIXELS[0], images, **options)
    write_file(tmp_path / "b.ome.tif", PIXELS[1], images, **options)
    expected = [PIXELS[0, 0], PIXELS[0, 1], PIXELS[1, 0], PIXELS[0, 2]]
    info = assert_pixels(tmp_path / named, lambda _fov, frame, _channel: expected[frame])
    assert info.members == (tmp_path / named, tmp_path / other)


@OPTIONS
def test_image_in_each_file_is_read_from_its_own(tmp_path: Path, options: dict) -> None:
    images = [["a.ome.tif"] * 3, ["b.ome.tif"] * 3]
    write_file(tmp_path / "a.ome.tif", PIXELS[0], images, **options)
    write_file(tmp_path / "b.ome.tif", PIXELS[1], images, **options)
    info = assert_pixels(tmp_path / "a.ome.tif", lambda fov, frame, _: PIXELS[fov, frame])
    assert info.members == (tmp_path / "a.ome.tif", tmp_path / "b.ome.tif")


def test_set_opened_through_a_link_is_read_from_beside_the_true_file(tmp_path: Path) -> None:
    images = [["a.ome.tif"], ["b.ome.tif"]]
    (tmp_path / "other").mkdir()
    for pixels, name in zip(PIXELS, "ab", strict=True):
        write_file(tmp_path / "set" / f"{name}.ome.tif", pixels[:1], images)
    link = tmp_path / "other" / "a.ome.tif"
    link.symlink_to(tmp_path / "set" / "a.ome.tif")
    info = assert_pixels(link, lambda fov, *_: PIXELS[fov, 0])
    assert info.members == (link, tmp_path / "set" / "b.ome.tif")


def attack(folder: Path, name: str) -> Path:
    """Write a file that calls one in another folder a part of itself."""
    write_file(folder / "outside" / "b.ome.tif", PIXELS[1], [["b.ome.tif"]])
    path = folder / "allowed" / "a.ome.tif"
    return write_file(path, PIXELS[0], [["a.ome.tif"] * 3, [name] * 3])


@pytest.mark.parametrize(
    "name",
    [
        "../outside/b.ome.tif",
        "{}/outside/b.ome.tif",
        "sub/b.ome.tif",
        "..\\outside\\b.ome.tif",
        "..",
    ],
)
def test_file_that_names_one_in_another_folder_is_refused(tmp_path: Path, name: str) -> None:
    path = attack(tmp_path, name.format(tmp_path))
    with pytest.raises(FileUnreadable, match="outside its own folder") as caught:
        open_movie(path)
    assert str(tmp_path) not in caught.value.message


def test_file_that_names_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    path = attack(tmp_path, "link.ome.tif")
    (path.parent / "link.ome.tif").symlink_to(tmp_path / "outside" / "b.ome.tif")
    with pytest.raises(FileUnreadable, match="outside its own folder"):
        open_movie(path)


def test_file_in_another_folder_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    path = attack(tmp_path, "../outside/b.ome.tif")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from benchwire.domains.microscopy.readers import open_movie\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, args: event == 'open' and seen.append(str(args[0])))\n"
        "try:\n"
        "    open_movie(Path(sys.argv[1]))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__)\n"
        "print(*sorted({Path(place).name for place in seen if place.endswith('.ome.tif')}))\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["FileUnreadable", "a.ome.tif"]


def test_scene_that_names_a_file_in_another_folder_is_refused(tmp_path: Path) -> None:
    attack(tmp_path, "../outside/b.ome.tif")
    scene = tmp_path / "allowed" / "a_scene0.ome.tif"
    write_file(scene, PIXELS[0], [["a_scene0.ome.tif", "../outside/b.ome.tif"]])
    with pytest.raises(FileUnreadable, match="outside its own folder"):
        open_movie(scene)


def test_old_name_of_the_file_itself_is_no_other_file(tmp_path: Path) -> None:
    old = "C:\\data\\old.ome.tif"
    with tifffile.TiffWriter(tmp_path / "new.ome.tif") as file:
        file.write(PIXELS[0, 0], description=ome_xml(old, [[old]]), metadata=None)
    info = assert_pixels(tmp_path / "new.ome.tif", lambda *_: PIXELS[0, 0])
    assert info.members == (tmp_path / "new.ome.tif",)


def test_missing_file_of_a_set_is_no_member_and_its_images_are_not_read_as_black(
    tmp_path: Path,
) -> None:
    path = write_file(tmp_path / "a.ome.tif", PIXELS[0], [["a.ome.tif", "b.ome.tif", "a.ome.tif"]])
    with opened(path) as movie:
        assert movie.info.members == (path,)
        with pytest.raises(FileUnreadable, match="missing"):
            movie.frame(0, 1, channel=0)


def test_other_formats_are_one_file(tmp_path: Path) -> None:
    write_nd2(tmp_path / "a.nd2", planes(2, 1, 1, 1))
    test_czi.write(tmp_path / "a.czi")
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[0], metadata=None, photometric="minisblack")
    for name in ("a.nd2", "a.czi", "a.tif"):
        assert info_of(tmp_path / name).members == (tmp_path / name,)


def split_set(folder: Path) -> list[Path]:
    paths = [folder / f"a_scene{scene}.ome.tif" for scene in range(3)]
    for path in paths:
        tifffile.imwrite(path, PIXELS[0], metadata={"axes": "TYX"})
    return paths


def test_members_of_a_split_set_are_the_named_scene_and_the_others_in_order(
    tmp_path: Path,
) -> None:
    first, second, third = split_set(tmp_path)
    assert info_of(second).members == (second, first, third)


def test_linked_scene_is_shown_to_the_caller(tmp_path: Path) -> None:
    first, second, third = split_set(tmp_path)
    (tmp_path / "outside").mkdir()
    second.rename(tmp_path / "outside" / second.name)
    second.symlink_to(tmp_path / "outside" / second.name)
    found = list(linked_paths(info_of(first)))
    assert found == [first, second, third]
    assert [path.is_symlink() for path in found] == [False, True, False]


def ome_zarr(folder: Path) -> Path:
    group = zarr.open_group(folder, mode="w", zarr_format=2)
    group.create_array("0", shape=(2, HEIGHT, WIDTH), chunks=(1, HEIGHT, WIDTH), dtype="uint16")
    axes = [{"name": "t", "type": "time"}, *({"name": n, "type": "space"} for n in "yx")]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}], "version": "0.4"}]
    return folder


def test_member_of_an_ome_zarr_is_its_folder(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr")
    assert info_of(path).members == (path,)
    assert list(linked_paths(info_of(path))) == [path]


def test_links_in_an_ome_zarr_are_shown_wherever_they_are(tmp_path: Path) -> None:
    path, other = ome_zarr(tmp_path / "a.zarr"), ome_zarr(tmp_path / "b.zarr")
    (path / "0").rename(tmp_path / "moved")
    (path / "0").symlink_to(tmp_path / "moved")
    (tmp_path / "moved" / "1.0.0").symlink_to(other / ".zattrs")
    (tmp_path / "moved" / "loop").symlink_to(path)
    (path / "gone").symlink_to(tmp_path / "nothing")
    found = list(linked_paths(info_of(path)))
    moved = tmp_path / "moved"
    assert sorted(found) == sorted(
        [path, path / "0", path / "gone", moved / "1.0.0", moved / "loop"]
    )


def test_linked_folder_is_not_looked_into_before_its_link_is_shown(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr")
    (path / "0").rename(tmp_path / "moved")
    (path / "0").symlink_to(tmp_path / "moved")
    shown = linked_paths(info_of(path))
    assert [next(shown), next(shown)] == [path, path / "0"]
    (tmp_path / "moved" / "new").symlink_to(path)
    assert list(shown) == [tmp_path / "moved" / "new"]


@pytest.mark.parametrize("place", ["../b.zarr/0", "{}/b.zarr/0", ".."])
def test_ome_zarr_that_names_another_folder_is_refused(tmp_path: Path, place: str) -> None:
    path = ome_zarr(tmp_path / "a.zarr")
    ome_zarr(tmp_path / "b.zarr")
    attributes = path / ".zattrs"
    text = attributes.read_text()
    assert '"path": "0"' in text
    attributes.write_text(text.replace('"path": "0"', f'"path": "{place.format(tmp_path)}"'))
    with pytest.raises(FileUnreadable):
        open_movie(path)
