"""Blocks written by hand after the published model definitions, register by register."""

import struct

import pytest

from benchwire.domains.battery.sunspec import Model, decode

ABSENT, ABSENT_SIGNED = 0xFFFF, 0x8000
TENTH, HUNDREDTH, THOUSANDTH = 0xFFFF, 0xFFFE, 0xFFFD

MODEL_103 = [
    103, 50,
    600,                        # A 60.0
    201, 202, 197, TENTH,       # AphA AphB AphC A_SF
    4002, 3996, 4009,           # PPVphAB PPVphBC PPVphCA
    2310, 2311, 2312, TENTH,    # PhVphA PhVphB PhVphC V_SF
    0xFB2E, 1,                  # W -1234 * 10, W_SF
    5000, HUNDREDTH,            # Hz
    1250, 1,                    # VA 1250 * 10, VA_SF
    0xFFF6, 1,                  # VAr
    0xFC19, TENTH,              # PF
    1, 0, 0,                    # WH, WH_SF
    155, TENTH,                 # DCA
    8123, TENTH,                # DCV
    0xFB2E, 1,                  # DCW
    253, 412, ABSENT_SIGNED, ABSENT_SIGNED, TENTH,  # TmpCab TmpSnk TmpTrns TmpOt Tmp_SF
    4, 0,                       # St StVnd
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
]  # fmt: skip

MODEL_802 = [
    802, 62,
    280, 2150, 1075, 1075, ABSENT,  # AHRtg WHRtg WChaRteMax WDisChaRteMax DisChaRte
    1000, 0, 950, 50,               # SoCMax SoCMin SoCRsvMax SoCRsvMin
    853,                            # SoC 85.3
    147,                            # DoD
    9520,                           # SoH 95.20
    0, 120,                         # NCyc
    3, 0, 17, 0, 0, 4, 3, 0,        # ChaSt LocRemCtl Hb CtrlHb AlmRst Typ State StateVnd
    0, 0,                           # WarrDt
    0, 0, 0, 0, 0, 0, 0, 0,         # Evt1 Evt2 EvtVnd1 EvtVnd2
    8253, 9490, 6500,               # V 825.3, VMax VMin
    3301, 1, 1,                     # CellVMax, string, module
    3287, 4, 2,                     # CellVMin, string, module
    3295,                           # CellVAvg
    0xFA1F,                         # A -1505 -> -150.5
    1500, 1500,                     # AChaMax ADisChaMax
    0xFB2E, 0, 0, 1, 3,             # W ReqInvState ReqW SetOp SetInvState
    0, 2, 2, 0,                     # AHRtg_SF WHRtg_SF WChaDisChaMax_SF DisChaRte_SF
    TENTH, TENTH, HUNDREDTH,        # SoC_SF DoD_SF SoH_SF
    TENTH, THOUSANDTH, TENTH,       # V_SF CellV_SF A_SF
    TENTH, 1,                       # AMax_SF W_SF
]  # fmt: skip

MODEL_803 = [
    803, 26,
    0, 0,
    311, 1, 4,                      # ModTmpMax 31.1
    0xFFEC, 5, 2,                   # ModTmpMin -2.0
    258,                            # ModTmpAvg 25.8
    ABSENT, ABSENT, ABSENT, ABSENT, ABSENT,
    ABSENT_SIGNED, ABSENT, ABSENT_SIGNED, ABSENT, ABSENT_SIGNED,
    ABSENT,                         # NCellBal
    THOUSANDTH, TENTH, TENTH, 0, 0, TENTH,
]  # fmt: skip

MODEL_124 = [
    124, 24,
    5000, 100, 100, 0, ABSENT, ABSENT,
    7750,                           # ChaState 77.50
    ABSENT,
    5012,                           # InBatV 50.12
    3, 0, 0, 0, 0, 0, 0,
    0, 0, 0x8000, 0x8000,
    HUNDREDTH, 0x8000, HUNDREDTH, 0x8000,  # ChaState_SF StorAval_SF InBatV_SF InOutWRte_SF
]  # fmt: skip


def floats(values: dict[int, float]) -> list[int]:
    words = [113, 60, *[0x7FC0, 0x0000] * 24, *[0] * 12]
    for offset, value in values.items():
        words[offset : offset + 2] = struct.unpack(">2H", struct.pack(">f", value))
    return words


def test_blocks_have_the_length_they_state() -> None:
    for block in (MODEL_103, MODEL_802, MODEL_803, MODEL_124, floats({})):
        assert len(block) == block[1] + 2


def test_inverter_with_scale_factors() -> None:
    assert decode({103: MODEL_103}) == {
        "pcs": {
            "apparent_power": -12.5,
            "dc_current": 15.5,
            "dc_voltage": 812.3,
            "ac_current_a": 20.1,
            "ac_current_b": 20.2,
            "ac_current_c": 19.7,
            "ac_voltage_ab": 400.2,
            "ac_voltage_bc": 399.6,
            "ac_voltage_ca": 400.9,
            "temp_ambient": 25.3,
            "temp_igbt": 41.2,
        }
    }


def test_inverter_with_floats() -> None:
    block = floats(
        {4: 20.25, 6: 20.5, 8: 19.75, 10: 400.5, 12: 399.5, 14: 401.0, 22: 11000.0, 26: 12500.0,
         34: 15.5, 36: 812.25, 40: 25.5, 42: 41.25}
    )  # fmt: skip
    assert decode({113: block}) == {
        "pcs": {
            "apparent_power": 12.5,
            "dc_current": 15.5,
            "dc_voltage": 812.25,
            "ac_current_a": 20.25,
            "ac_current_b": 20.5,
            "ac_current_c": 19.75,
            "ac_voltage_ab": 400.5,
            "ac_voltage_bc": 399.5,
            "ac_voltage_ca": 401.0,
            "temp_ambient": 25.5,
            "temp_igbt": 41.25,
        }
    }


def test_battery_and_its_bank() -> None:
    assert decode({802: MODEL_802, 803: MODEL_803}) == {
        "bms": {
            "soc": 85.3,
            "soh": 95.2,
            "voltage": 825.3,
            "current": -150.5,
            "cell_avg_voltage": 3.295,
            "cell_max_voltage": 3.301,
            "cell_min_voltage": 3.287,
            "cell_voltage_diff": 0.014,
            "cell_max_temp": 31.1,
            "cell_min_temp": -2.0,
            "cell_avg_temp": 25.8,
            "cell_temp_diff": 33.1,
        }
    }


def test_storage_controls_serve_where_no_battery_is() -> None:
    assert decode({124: MODEL_124}) == {"bms": {"soc": 77.5, "voltage": 50.12}}


def test_battery_is_believed_before_the_storage_controls() -> None:
    for models in ({124: MODEL_124, 802: MODEL_802}, {802: MODEL_802, 124: MODEL_124}):
        told = decode(models)["bms"]
        assert (told["soc"], told["voltage"]) == (85.3, 825.3)


@pytest.mark.parametrize("model_id", [101, 102, 103])
def test_inverters_of_any_number_of_phases_have_one_layout(model_id: int) -> None:
    assert decode({model_id: [model_id, *MODEL_103[1:]]}) == decode({103: MODEL_103})


def changed(block: list[int], offset: int, word: int) -> list[int]:
    return [*block[:offset], word, *block[offset + 1 :]]


@pytest.mark.parametrize(
    ("offset", "word", "field"),
    [
        (27, ABSENT, "dc_current"),
        (28, 0x8000, "dc_current"),
        (28, 11, "dc_current"),
        (18, ABSENT_SIGNED, "apparent_power"),
        (19, 0x8000, "apparent_power"),
        (34, ABSENT_SIGNED, "temp_igbt"),
        (5, ABSENT, "ac_current_c"),
    ],
)
def test_what_is_not_implemented_is_absent_and_nothing_else(
    offset: int, word: int, field: str
) -> None:
    whole = decode({103: MODEL_103})["pcs"]
    told = decode({103: changed(MODEL_103, offset, word)})["pcs"]
    assert told == {key: value for key, value in whole.items() if key != field}


def test_scale_factor_that_is_missing_takes_all_its_quantities() -> None:
    told = decode({103: changed(MODEL_103, 13, 0x8000)})["pcs"]
    assert not {"ac_voltage_ab", "ac_voltage_bc", "ac_voltage_ca"} & told.keys()


def test_positive_scale_factors_multiply() -> None:
    assert decode({103: changed(MODEL_103, 30, 2)})["pcs"]["dc_voltage"] == 812300.0


def test_apparent_power_without_active_power_keeps_its_sign() -> None:
    without = changed(MODEL_103, 14, ABSENT_SIGNED)
    assert decode({103: without})["pcs"]["apparent_power"] == 12.5
    assert decode({103: changed(without, 18, 0xFB1E)})["pcs"]["apparent_power"] == -12.5


def test_block_of_an_older_shorter_edition_tells_what_it_has() -> None:
    assert decode({103: MODEL_103[:14]})["pcs"].keys() == {
        "ac_current_a", "ac_current_b", "ac_current_c",
        "ac_voltage_ab", "ac_voltage_bc", "ac_voltage_ca",
    }  # fmt: skip


def test_models_of_no_use_tell_nothing() -> None:
    assert decode({1: [1, 66, *[0] * 66], 64_001: [64_001, 1, 5]}) == {}
    assert Model(1, 40002, 66).words_of_use == 0


def test_only_the_registers_of_use_are_to_be_read() -> None:
    assert Model(103, 40070, 50).words_of_use == 38
    assert Model(802, 40122, 62).words_of_use == 62
    # 10 strings follow the bank's own registers; none of them is needed.
    assert Model(803, 40186, 26 + 10 * 32).words_of_use == 24
    assert Model(103, 40070, 10).words_of_use == 12
    assert Model(103, 40070, 50).end == 40122
