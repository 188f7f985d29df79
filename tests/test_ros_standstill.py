"""How it is measured that an arm is still: what the tests of failures stand on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ros.standstill import STILL_FOR_S, STILL_M_S, last_motion, standstill

HZ = 100
STAMPS_S = 1000.0 + np.arange(5 * HZ) / HZ


@given(rests_s=st.floats(0.0, 4.0), speed_m_s=st.floats(2 * STILL_M_S, 1.0), moment_s=st.floats(0.0, 4.0))
def test_an_arm_that_stops_is_still_from_then_on(rests_s: float, speed_m_s: float, moment_s: float) -> None:
    speeds = np.where(1000.0 + rests_s > STAMPS_S, speed_m_s, 0.5 * STILL_M_S)
    found = standstill(STAMPS_S, speeds, 1000.0 + moment_s)
    assert found is not None
    assert found.after_s == pytest.approx(max(rests_s - moment_s, 0.0), abs=1.01 / HZ)
    assert found.way_m == pytest.approx(speed_m_s * max(rests_s - moment_s, 0.0), abs=1.01 * speed_m_s / HZ)


@given(pauses=st.lists(st.floats(0.05, STILL_FOR_S - 0.02), min_size=1, max_size=8))
def test_an_arm_that_pauses_and_goes_on_is_not_still(pauses: list[float]) -> None:
    speeds = np.full(len(STAMPS_S), 0.1)
    start = 0
    for pause_s in pauses:
        speeds[start : start + round(pause_s * HZ)] = 0.0
        start += round(pause_s * HZ) + 5
    speeds[-1] = 0.1
    assert standstill(STAMPS_S, speeds, 1000.0) is None


def test_a_rest_that_was_not_seen_for_long_enough_is_none() -> None:
    speeds = np.where(STAMPS_S[-1] - STILL_FOR_S + 0.05 > STAMPS_S, 0.1, 0.0)
    assert standstill(STAMPS_S, speeds, 1000.0) is None
    assert standstill([], [], 1000.0) is None


@given(rests_s=st.floats(0.0, 4.0), speed_m_s=st.floats(2 * STILL_M_S, 1.0))
def test_an_arm_that_stops_once_is_still_for_good_from_then_on(rests_s: float, speed_m_s: float) -> None:
    speeds = np.where(1000.0 + rests_s > STAMPS_S, speed_m_s, 0.5 * STILL_M_S)
    assert last_motion(STAMPS_S, speeds, 1000.0) == standstill(STAMPS_S, speeds, 1000.0)


def test_an_arm_that_moves_again_was_not_still_for_good() -> None:
    speeds = np.zeros(len(STAMPS_S))
    speeds[: HZ // 2], speeds[3 * HZ : 4 * HZ] = 0.1, 0.01
    assert standstill(STAMPS_S, speeds, 1000.0).after_s == pytest.approx(0.5)
    assert last_motion(STAMPS_S, speeds, 1000.0).after_s == pytest.approx(4.0)
    with pytest.raises(AssertionError, match=r"still moves, at 10\.0 mm/s"):
        last_motion(STAMPS_S[: 4 * HZ], speeds[: 4 * HZ], 1000.0)
