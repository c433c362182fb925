"""The fit recovers planted inverse power laws, and scipy does not fit better."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from resnetlab.stats.learning_curve import EXPONENTS, fit_power_laws

SIZES = np.array([10.0, 20.0, 40.0, 60.0, 80.0])


def test_the_law_of_a_curve_without_noise_is_recovered() -> None:
    errors = np.stack([0.05 + 0.9 * SIZES**-0.5, 0.3 * SIZES**-0.25, np.full(5, 0.2)])
    laws = fit_power_laws(SIZES, errors)
    assert laws.floor == pytest.approx([0.05, 0.0, 0.2], abs=1e-9)
    assert laws.exponent[:2] == pytest.approx([0.5, 0.25], abs=1e-9)
    assert laws.predict(200.0) == pytest.approx([0.05 + 0.9 * 200**-0.5, 0.3 * 200**-0.25, 0.2])


def test_no_law_has_a_smaller_error() -> None:
    generator = np.random.default_rng(0)
    errors = 0.1 + 0.8 * SIZES**-0.6 + generator.normal(0, 0.01, (20, 5))
    laws = fit_power_laws(SIZES, errors)
    step = EXPONENTS[1] - EXPONENTS[0]
    for k, row in enumerate(errors):
        values, _ = curve_fit(
            lambda n, a, b, c: a + b * n**-c,
            SIZES,
            row,
            p0=[0.1, 0.8, 0.6],
            sigma=SIZES**-0.5,  # weights that grow with the size
            bounds=([0, 0, EXPONENTS[0]], [1, 10, EXPONENTS[-1]]),
        )
        best = (SIZES * (row - values[0] - values[1] * SIZES ** -values[2]) ** 2).sum()
        ours = laws.floor[k] + laws.scale[k] * SIZES ** -laws.exponent[k]
        assert (SIZES * (row - ours) ** 2).sum() <= best * 1.1 + 1e-5
        assert laws.exponent[k] == pytest.approx(values[2], abs=step + 0.05)


def test_a_rising_curve_gets_a_constant_law_and_no_prediction_is_negative() -> None:
    rising = np.array([[0.1, 0.12, 0.15, 0.2, 0.3]])
    steep = np.array([[0.5, 0.2, 0.05, 0.01, 0.0]])
    laws = fit_power_laws(SIZES, np.concatenate([rising, steep]))
    assert laws.scale[0] == 0
    assert laws.predict(1000.0)[0] == pytest.approx((SIZES * rising[0]).sum() / SIZES.sum())
    assert (laws.floor >= 0).all()
    assert laws.predict(1e6)[1] >= 0
