"""The maker's units and the codes that we may call."""

import math

import pytest

from ws_driver_a1x import vendor


@pytest.mark.parametrize("code", [vendor.ENABLE, vendor.DISABLE, vendor.CLEAR_ERROR])
def test_harmless_codes_pass(code):
    assert vendor.function_frame_code(code) == code


@pytest.mark.parametrize("code", [3, 0, 5, 6, 7, 255, -1, True, 1.5, "1", None])
def test_every_other_code_is_refused(code):
    with pytest.raises(ValueError, match="function frame code"):
        vendor.function_frame_code(code)


def test_gripper_units():
    assert vendor.opening_from_stroke(0.0) == 0.0
    assert vendor.opening_from_stroke(100.0) == 1.0
    assert vendor.opening_from_stroke(140.0) == 1.0
    assert vendor.opening_from_raw(-2.83) == pytest.approx(1.0)
    assert vendor.opening_from_raw(0.0) == 0.0
    assert vendor.opening_from_raw(0.4) == 0.0
    assert math.isnan(vendor.opening_from_raw(math.nan))
    assert vendor.fingers(0.5) == pytest.approx((0.025, -0.025))
