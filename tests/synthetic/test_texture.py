import numpy as np

from maseg_nnunet.synthetic.texture import curve, fractal, soft_step


def test_fractal_has_about_unit_variance_and_more_power_at_low_frequencies() -> None:
    y = x = (np.arange(256, dtype=np.float32) + 0.5) * 1.2
    fields = np.stack([fractal(np.random.default_rng(seed), y, x, 40.0, 5) for seed in range(8)])
    assert 0.6 < fields.std() < 1.4
    power = np.abs(np.fft.fft2(fields)).mean(0) ** 2
    assert power[0, 4:8].mean() > 20 * power[0, 40:80].mean()


def test_a_field_is_the_same_on_a_finer_grid() -> None:
    coarse = (np.arange(100, dtype=np.float32) + 0.5) * 1.0
    fine = (np.arange(300, dtype=np.float32) + 0.5) / 3
    on_coarse, on_fine = (curve(np.random.default_rng(1), y, 20.0) for y in (coarse, fine))
    assert np.allclose(on_fine[1::3], on_coarse, atol=1e-4)
    on_coarse, on_fine = (fractal(np.random.default_rng(1), y, y, 20.0, 3) for y in (coarse, fine))
    assert np.allclose(on_fine[1::3, 1::3], on_coarse, atol=1e-4)


def test_soft_step_is_flat_outside_and_rises_between() -> None:
    assert soft_step(np.array([-1.0, 0.0, 0.5, 1.0, 7.0])).tolist() == [0, 0, 0.5, 1, 1]
