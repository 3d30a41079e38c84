"""From trainings to regret: a smooth curve of accuracy over log-LR, with its uncertainty.

The curve is a Gaussian process over log2 of the rate, its length scale and height by the highest
marginal likelihood (Rasmussen and Williams, 2006, chapter 5), its noise the spread of repeated
seeds. Accuracies are in percentage points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.lr_finder_regret.trainings import Result

NEAR = 6.0
"""Points below the best at which accuracies are cut off before the fit: a collapse next to the
best would make any smooth curve swing. Below that, the curve is a line through the means."""
LENGTHS = (1.0, 1.5, 2.0, 3.0, 4.0)
HEIGHTS = (0.5, 1.0, 2.0, 4.0)
SAMPLES = 400
FINE = 64
"""Points of the curve to one factor of 2."""


@dataclass(frozen=True)
class Fit:
    """Accuracy over the peak rate, of one problem.

    Attributes:
        lr: fine grid of rates.
        accuracy: of the curve, in points.
        samples_SL: curves that the trainings leave possible.
        noise: standard deviation of a training over seeds near the best, in points.
    """

    lr: np.ndarray
    accuracy: np.ndarray
    samples_SL: np.ndarray
    noise: float

    @property
    def best(self) -> float:
        """The rate of the highest point of the curve."""
        return float(self.lr[int(np.argmax(self.accuracy))])

    @property
    def best_interval(self) -> tuple[float, float]:
        """Where the best lies in 90 % of the possible curves."""
        rates = self.lr[self.samples_SL.argmax(axis=1)]
        low, high = np.quantile(rates, [0.05, 0.95])
        return float(low), float(high)

    def regret(self, lr: float) -> float:
        """Points lost by training at `lr` in place of the best."""
        return float(self.accuracy.max() - np.interp(np.log(lr), np.log(self.lr), self.accuracy))


def fit(results: Sequence[Result]) -> Fit:
    """The curve through a problem's trainings."""
    x_N = np.log2([result.lr for result in results])
    y_N = 100 * np.array([result.accuracy for result in results])
    rates = np.unique(np.round(x_N, 6))
    means = np.array([y_N[np.isclose(x_N, rate, atol=1e-4)].mean() for rate in rates])
    noise = _noise(x_N, y_N, means.max())
    fine = np.linspace(rates[0], rates[-1], round(FINE * (rates[-1] - rates[0])) + 1)
    bottom = means.max() - NEAR
    mean, covariance = _posterior(x_N, np.maximum(y_N, bottom), fine, noise)
    draws = np.random.default_rng(0).standard_normal((SAMPLES, len(fine)))
    values, vectors = np.linalg.eigh(covariance)
    spread = draws * np.sqrt(np.maximum(values, 0)) @ vectors.T
    line = np.interp(fine, rates, means)
    far = line < bottom
    return Fit(2**fine, np.where(far, line, mean), np.where(far, line, mean + spread), noise)


def _noise(x_N: np.ndarray, y_N: np.ndarray, best: float) -> float:
    """Pooled standard deviation over seeds at rates within reach of the best."""
    squares, freedom = 0.0, 0
    for rate in np.unique(np.round(x_N, 6)):
        group = y_N[np.isclose(x_N, rate, atol=1e-4)]
        if len(group) > 1 and group.mean() > best - NEAR / 2:
            squares += float(((group - group.mean()) ** 2).sum())
            freedom += len(group) - 1
    return float(np.sqrt(squares / max(freedom, 1)))


def _posterior(
    x_N: np.ndarray, y_N: np.ndarray, fine: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the curve at `fine`, by the likeliest length scale and height."""
    level = y_N.mean()
    options = [(length, height) for length in LENGTHS for height in HEIGHTS]
    scale = max(float(y_N.std()), noise)
    length, height = max(
        options, key=lambda option: _log_likelihood(x_N, y_N - level, *option, scale, noise)
    )
    kernel = _kernel(x_N, x_N, length, height * scale) + noise**2 * np.eye(len(x_N))
    cross = _kernel(fine, x_N, length, height * scale)
    mean = level + cross @ np.linalg.solve(kernel, y_N - level)
    within = _kernel(fine, fine, length, height * scale)
    return mean, within - cross @ np.linalg.solve(kernel, cross.T)


def _log_likelihood(
    x_N: np.ndarray, y_N: np.ndarray, length: float, height: float, scale: float, noise: float
) -> float:
    kernel = _kernel(x_N, x_N, length, height * scale) + noise**2 * np.eye(len(x_N))
    _, log_determinant = np.linalg.slogdet(kernel)
    return -0.5 * float(y_N @ np.linalg.solve(kernel, y_N) + log_determinant)


def _kernel(a: np.ndarray, b: np.ndarray, length: float, height: float) -> np.ndarray:
    return height**2 * np.exp(-0.5 * ((a[:, None] - b[None, :]) / length) ** 2)
