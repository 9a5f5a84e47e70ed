"""Stacks: readable by NumPy, whole or absent."""

from pathlib import Path

import numpy as np
import pytest

from benchwire.domains.microscopy.plan import FluorescenceChannel, Plan
from benchwire.domains.microscopy.stacks import Stack, StackWriter, stacks_of, written_together

PLAN = Plan(2, fluorescence=(FluorescenceChannel(0, ()), FluorescenceChannel(2, ())))


def test_names_and_types_are_the_contracts() -> None:
    found = {stack.name("a.b", 7): stack.dtype for stack in stacks_of(PLAN)}
    assert found == {
        "a.b_fov_007_pc_ch_2.npy": np.uint16,
        "a.b_fov_007_seg_ch_2.npy": np.bool_,
        "a.b_fov_007_seg_labeled_ch_2.npy": np.uint16,
        "a.b_fov_007_fl_ch_0.npy": np.uint16,
        "a.b_fov_007_fl_background_ch_0.npy": np.float32,
        "a.b_fov_007_fl_ch_2.npy": np.uint16,
        "a.b_fov_007_fl_background_ch_2.npy": np.float32,
    }
    assert Stack("pc", 12).name("x", 1234) == "x_fov_1234_pc_ch_12.npy"


@pytest.mark.parametrize("dtype", [np.bool_, np.uint16, np.float32])
def test_stack_is_read_back_as_it_was(tmp_path: Path, dtype: type) -> None:
    frames = np.random.default_rng(1).integers(0, 2, (5, 7, 3)).astype(dtype)
    path = tmp_path / "stack.npy"
    writer = StackWriter(path, frames.shape, dtype=dtype)
    for frame in frames:
        writer.append(np.asfortranarray(frame))
    assert not path.exists()
    writer.finish()
    assert not path.exists()
    writer.publish()
    assert [item.name for item in tmp_path.iterdir()] == ["stack.npy"]
    read = np.load(path, mmap_mode="r")
    assert read.dtype == dtype
    assert np.array_equal(read, frames)
    assert np.array_equal(np.load(path), frames)


def test_frame_of_another_size_or_type_is_refused(tmp_path: Path) -> None:
    writer = StackWriter(tmp_path / "stack.npy", (2, 4, 4), dtype=np.uint16)
    with pytest.raises(ValueError, match="does not belong"):
        writer.append(np.zeros((4, 5), np.uint16))
    with pytest.raises(ValueError, match="does not belong"):
        writer.append(np.zeros((4, 4), np.int64))
    writer.append(np.zeros((4, 4), np.uint16))
    with pytest.raises(ValueError, match="1 of 2 frames"):
        writer.finish()
    writer.discard()
    assert not list(tmp_path.iterdir())


def test_stacks_get_their_names_together_or_not_at_all(tmp_path: Path) -> None:
    paths = {stack: tmp_path / stack.name("x", 0) for stack in stacks_of(PLAN)[:2]}
    old = paths[Stack("pc", 2)]
    old.write_bytes(b"from an earlier run")
    with (
        pytest.raises(ValueError, match="0 of 1 frames"),
        written_together(paths, (1, 2, 2)) as stacks,
    ):
        stacks[Stack("pc", 2)].append(np.zeros((2, 2), np.uint16))
    assert [item.name for item in tmp_path.iterdir()] == [old.name]
    assert old.read_bytes() == b"from an earlier run"
    with written_together(paths, (1, 2, 2)) as stacks:
        for stack, writer in stacks.items():
            writer.append(np.ones((2, 2), stack.dtype))
    assert {item.name for item in tmp_path.iterdir()} == {path.name for path in paths.values()}
    assert np.load(old).tolist() == [[[1, 1], [1, 1]]]


def test_folder_that_is_missing_leaves_nothing_open(tmp_path: Path) -> None:
    paths = {Stack("pc", 0): tmp_path / "a.npy", Stack("seg", 0): tmp_path / "no" / "b.npy"}
    with pytest.raises(FileNotFoundError), written_together(paths, (1, 2, 2)):
        pass
    assert not list(tmp_path.iterdir())
