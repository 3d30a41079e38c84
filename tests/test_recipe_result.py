"""The result file that is written of a recipe's runs."""

import math
import re
from types import SimpleNamespace

from benchmarks.recipe_result import summary

RESULT = {
    "test_accuracy": 0.871, "train_accuracy": 0.89, "test_loss": 0.38, "test_images": 10_000,
    "test_class_sizes": [1000, 1000], "lr_min": 1e-3, "lr_max": 1.0, "lr_final": 1e-3,
    "images_per_second": 3859.0, "total_seconds": 360.0,
}  # fmt: skip


def test_the_interval_of_one_run_is_that_of_all_its_test_images() -> None:
    told = summary([SimpleNamespace(seed=0, result=RESULT)])
    images, share, z = 10_000, 0.871, 1.96
    middle = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    reach = z * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    reach /= 1 + z**2 / images
    low, high = 100 * (middle - reach), 100 * (middle + reach)
    assert "Over the 10,000 test images" in told
    found = re.search(r"images: ([\d.]+) to ([\d.]+) %", told)
    assert found
    assert [round(low, 1), round(high, 1)] == [float(each) for each in found.groups()]
