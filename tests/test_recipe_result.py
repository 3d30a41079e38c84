"""The result file that is written of a recipe's runs."""

import math
import re
from types import SimpleNamespace

from simulated_runs import RESULT

from benchmarks.recipe_result import summary
from onecycle.run_dir.checking import from_json
from onecycle.run_dir.records import Result

FIGURES = from_json(RESULT | {"test_accuracy": 0.871, "test_images": 10_000}, Result)


def test_the_interval_of_one_run_is_that_of_all_its_test_images() -> None:
    told = summary([SimpleNamespace(seed=0, result=FIGURES)])
    images, share, z = 10_000, 0.871, 1.96
    middle = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    reach = z * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    reach /= 1 + z**2 / images
    low, high = 100 * (middle - reach), 100 * (middle + reach)
    assert "Over the 10,000 test images" in told
    found = re.search(r"images: ([\d.]+) to ([\d.]+) %", told)
    assert found
    assert [round(low, 1), round(high, 1)] == [float(each) for each in found.groups()]
