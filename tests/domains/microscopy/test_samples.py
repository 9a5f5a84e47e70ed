"""Samples files: what is understood, and what is refused with the sample named."""

from pathlib import Path

import pytest

from benchwire.domains.microscopy.samples import Sample, SamplesInvalid, read_samples


def read(folder: Path, text: str) -> tuple[Sample, ...]:
    path = folder / "samples.yaml"
    path.write_text(text, "utf-8")
    return read_samples(path)


def one(folder: Path, name: str = "a", fovs: str = "0") -> Sample:
    return read(folder, f"samples:\n  - name: {name}\n    fovs: {fovs}\n")[0]


def test_text_and_list_of_fovs_are_understood(tmp_path: Path) -> None:
    text = (
        'samples:\n  - name: control\n    fovs: "0-5, 7, 9-11"\n  - name: drug\n    fovs: [12, 13]'
    )
    assert read(tmp_path, text) == (
        Sample("control", (0, 1, 2, 3, 4, 5, 7, 9, 10, 11)),
        Sample("drug", (12, 13)),
    )


@pytest.mark.parametrize(
    ("fovs", "numbers"),
    [
        ("7", (7,)),
        ("5-3, 1", None),
        ("3, 1, 2-3 , 1", (1, 2, 3)),
        ("[3, 1, 3]", (1, 3)),
        ("4-4", (4,)),
        ("010", (10,)),
        ("1, 2,", (1, 2)),
        ("99999, 0000000000", (0, 99999)),
    ],
)
def test_fovs_are_sorted_without_doubles(
    tmp_path: Path, fovs: str, numbers: tuple[int, ...] | None
) -> None:
    if numbers is None:
        with pytest.raises(SamplesInvalid, match="Sample a: the range 5-3 runs backwards"):
            one(tmp_path, fovs=fovs)
    else:
        assert one(tmp_path, fovs=fovs).fovs == numbers


@pytest.mark.parametrize(
    ("fovs", "message"),
    [
        ('""', "no FOVs"),
        ("", "no FOVs"),
        ('" , "', "no FOVs"),
        ("[]", "no FOVs"),
        ('"1; 2"', "semicolons"),
        ("1.5", "neither a whole number"),
        ("true", "neither a whole number"),
        ("1 2", "neither a whole number"),
        ("1-2-3", "neither a whole number"),
        ('"-1"', "negative"),
        ("[1, -2]", "negative"),
        ('["0-3"]', "neither a whole number"),
        ("[[1]]", "neither a whole number"),
        ("{a: 1}", "neither a text nor a list"),
        ("2024-01-02", "neither a whole number"),
        ("\u0663", "neither a whole number"),
        ("0-99999999999", "no FOVs above"),
        ("0-100000", "no FOVs above"),
        ("100000", "no FOVs above"),
        ("9" * 5000, "no FOVs above"),
    ],
)
def test_odd_fovs_are_refused_with_the_sample_named(
    tmp_path: Path, fovs: str, message: str
) -> None:
    with pytest.raises(SamplesInvalid, match=f"Sample a.*{message}"):
        one(tmp_path, fovs=fovs)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a/b", "separator"),
        ("'a\\b'", "separator"),
        ("..", "folder"),
        (".", "folder"),
        ('""', "Sample 1 has no name"),
        ("", "Sample 1 has no name"),
        ("[a]", "Sample 1 has no name"),
        ('"a\\0b"', "control"),
        ('"a\\nb"', "control"),
        ("ä" * 80, "longer"),
    ],
)
def test_names_that_no_file_should_have_are_refused(
    tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(SamplesInvalid, match=message):
        one(tmp_path, name=name)


@pytest.mark.parametrize("name", ["007", "no", "1.50", "Größe 3"])
def test_names_stay_as_they_are_written(tmp_path: Path, name: str) -> None:
    assert one(tmp_path, name=name).name == name


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("Drug", "dRUG"), ("\u00e4", "a\u0308")])
def test_two_samples_of_one_file_name_are_refused(tmp_path: Path, first: str, second: str) -> None:
    text = f"samples:\n- {{name: {first}, fovs: 0}}\n- {{name: {second}, fovs: 1}}"
    with pytest.raises(SamplesInvalid, match="same files"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    ["", "a: 1", "samples: 3", "samples: []", "- a", "samples: [", "samples: [a]", "\x00", "a: *b"],
)
def test_file_without_a_list_of_samples_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SamplesInvalid):
        read(tmp_path, text)


def test_sample_without_fovs_is_named(tmp_path: Path) -> None:
    with pytest.raises(SamplesInvalid, match="Sample 2 \\(b\\) has no fovs"):
        read(tmp_path, "samples: [{name: a, fovs: 1}, {name: b}]")


def test_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "samples.yaml").write_bytes(b"samples: [{name: \xff, fovs: 1}]")
    with pytest.raises(SamplesInvalid):
        read_samples(tmp_path / "samples.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("samples: " + "[" * 100_000, "nested too deeply"),
        ("samples: " + "[" * 25 + "]" * 25, "nested too deeply"),
        ("a: &a [1]\nsamples: [" + "*a," * 1000 + "]", "too many aliases"),
        ("samples: &a [*a]", "not YAML"),
        ("#" * (2 << 20), "larger than 1 MB"),
    ],
    ids=["deep", "nested", "aliases", "loop", "large"],
)
def test_file_made_to_do_harm_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SamplesInvalid, match=message):
        read(tmp_path, text)


def test_tags_make_no_objects(tmp_path: Path) -> None:
    marker = tmp_path / "made"
    text = f"samples: [{{name: !!python/object/apply:os.mkdir [{marker}], fovs: 1}}]"
    with pytest.raises(SamplesInvalid):
        read(tmp_path, text)
    assert not marker.exists()
