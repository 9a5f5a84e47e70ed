"""Which channels are taken for transmitted light, by their names."""

import pytest

from benchwire.domains.microscopy.channels import is_phase, suggest_channels


@pytest.mark.parametrize(
    "name",
    [
        "BF", "bf", "BF 10x", "10xBF", "BF1", "brightfield", "brightfield_1", "BrightField",
        "Camera-Brightfield", "DIC", "dic_2", "EPI-DIC", "Phase", "Phase Contrast",
        "PhaseContrast", "phasecontrast", "PHASE-10X", "ImagePhase", "Trans", "trans-light",
        "TransLight", "Transmitted", "TransmittedLight", "transmittedlight", "transmission",
        "T1 Transmission", "Phasenkontrast", "PHASECON", "DICIII", "transpmt", "TRANSPMT", "BFFluo",
        "BRIGHTFIELDCAM", "brightfieldlamp", "ph", "Ph2", " pc ", "PC10",
    ],
)  # fmt: skip
def test_names_of_transmitted_light(name: str) -> None:
    assert is_phase(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "BFP", "bfp", "EBFP2", "TagBFP", "mTagBfp", "BFP 405", "indicator", "Indicator",
        "Ca_indicator", "transferrin", "Transferrin-647", "transgene", "transfected", "prophase",
        "Metaphase", "phalloidin", "PCNA", "ph3x", "GFP",
    ],
)  # fmt: skip
def test_names_that_only_hold_such_letters(name: str) -> None:
    assert not is_phase(name)


def test_the_phase_channel_is_the_first_that_is_called_so_or_the_first_of_all() -> None:
    for names, phase in (
        (("BFP", "transferrin", "BF 10x", "DIC"), 2),
        (("BFP", "GFP"), 0),
    ):
        chosen = suggest_channels(names)
        assert chosen["phase"]["channel"] == phase
        others = [item["channel"] for item in chosen["fluorescence"]]
        assert others == [number for number in range(len(names)) if number != phase]
