"""How many independent samples a series is worth: 1,440 minutes of a real machine were worth 3 to 158.

n_eff = n / tau, tau = -1 + 2 * sum of Gamma_m, Gamma_m = rho(2m) + rho(2m+1) over Geyer's initial monotone positive
sequence (Geyer, Practical Markov chain Monte Carlo, Statistical Science 7, 1992, section 3.3): the pairs are positive
and falling for a reversible process, so the sum stops at the first that is not, and noise in the tail adds nothing.
Sokal's window (Monte Carlo methods in statistical mechanics, 1996) gives about the same and needs a constant.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from backstay.audit.model import Floats

SHORTEST = 8  # below this there is no autocorrelation to estimate: the series counts as one sample
ROWS_AT_ONCE = 4096  # series transformed together: bounds the memory


def summary(values: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean, its standard error, samples and effective samples of each series: (series, times) -> four of (series,).

    NaN is a gap, whatever its length. No sample: NaN mean and error. One: error 0, as nothing is known of it.
    """
    parts = [_summary(values[at : at + ROWS_AT_ONCE].astype(np.float64)) for at in range(0, len(values), ROWS_AT_ONCE)]
    if not parts:
        return tuple(np.empty(0) for _ in range(4))  # type: ignore[return-value]
    means, errors, samples, effective = (np.concatenate(column) for column in zip(*parts, strict=True))
    return means, errors, samples, effective


def _summary(values: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    present = np.isfinite(values)
    samples = present.sum(axis=1)
    filled = np.where(present, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = filled.sum(axis=1) / samples
        centered = np.where(present, values - means[:, None], 0.0)
        variances = (centered**2).sum(axis=1) / np.maximum(samples - 1, 1)
    effective = effective_samples(centered, present)
    # s^2 is itself short by the correlation: its mean is sigma^2 (1 - 1/n_eff).
    errors = np.sqrt(variances / np.maximum(effective - 1.0, 0.5))
    errors[samples < 2] = 0.0
    errors[samples == 0] = np.nan
    return means, errors, samples.astype(np.float64), effective


def effective_samples(centered: Floats, present: Floats) -> Floats:
    """n_eff of each centered series (series, times), 0 where `present` is False. Between 1 and its samples."""
    times = centered.shape[1]
    samples = present.sum(axis=1).astype(np.float64)
    if times < SHORTEST:
        few: Floats = np.minimum(samples, 1.0)
        return few
    rho = _autocorrelation(centered, present)
    pairs = rho[:, 0 : times - times % 2 : 2] + rho[:, 1:times:2]
    positive = np.logical_and.accumulate(pairs > 0.0, axis=1)
    falling = np.minimum.accumulate(np.where(positive, pairs, np.inf), axis=1)
    tau = -1.0 + 2.0 * np.where(positive, falling, 0.0).sum(axis=1)
    effective: Floats = np.clip(samples / np.maximum(tau, 1.0), np.minimum(samples, 1.0), samples)
    effective[samples < SHORTEST] = np.minimum(samples, 1.0)[samples < SHORTEST]
    return effective


def _autocorrelation(centered: Floats, present: Floats) -> Floats:
    """(series, times), lag 0 is 1; a constant series has 1 at lag 0 alone. By FFT, over the pairs that are there."""
    times = centered.shape[1]
    length = fft.next_fast_len(2 * times, real=True)
    sums = _lagged(centered, length)[:, :times]
    if present.all():
        covariance = sums / times
    else:
        pairs = _lagged(present.astype(np.float64), length)[:, :times]
        fade = 1.0 - np.arange(times) / times  # the biased estimator, whose tail is tame
        covariance = sums / np.maximum(np.round(pairs), 1.0) * fade
    zero = covariance[:, :1]
    rho: Floats = np.divide(covariance, zero, out=np.zeros_like(covariance), where=zero > 1e-300)
    rho[:, 0] = 1.0
    return rho


def _lagged(values: Floats, length: int) -> Floats:
    spectrum = fft.rfft(values, length, axis=1)
    products: Floats = fft.irfft(spectrum.real**2 + spectrum.imag**2, length, axis=1)
    return products
