"""What all tests share: they repeat exactly, draw no windows, and leave the user's cache alone."""

import os
import signal

os.environ["MPLBACKEND"] = "Agg"  # before anything imports matplotlib, here or in a subprocess
# Before anything imports torch: with two files at a time, threads that wait must sleep, not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import torch
from browsing import Visits, running_browser
from hypothesis import HealthCheck, settings
from several import Several
from trained import Forks

# Under nohup, or in the background of some shells, signals are ignored, here and in subprocesses.
for name in ("SIGHUP", "SIGINT", "SIGTERM"):
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
        usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
        signal.signal(getattr(signal, name), usual)

settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,  # the machine may be busy
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded images go to a folder of this session, for the tests and their subprocesses.

    Nothing is fetched from the internet: the only mirror is a port where nobody answers.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONECYCLE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("ONECYCLE_MIRRORS", "http://127.0.0.1:9")
        yield


@pytest.fixture(autouse=True)
def two_threads() -> None:
    """Sums depend on the number of threads, and a test may have changed it."""
    torch.set_num_threads(2)


@pytest.fixture(scope="module", autouse=True)
def two_threads_for_the_fixtures_of_a_module() -> None:
    """They come before the one above, and their trainings are compared with those of tests."""
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Real processes at little cost."""
    with closing(Forks(tmp_path_factory.mktemp("forks"))) as found:
        yield found


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Several]:
    """The same, of several processes that train together."""
    with closing(Several(tmp_path_factory.mktemp("several"))) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real browser; of one module, since its event loop would be in the way of other tests'."""
    with running_browser() as running:
        yield running


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Visits]:
    """Opens the page at the module's `address`; it may have asked for nothing, and said nothing."""
    visits = Visits(browser, address)
    yield visits
    visits.close()
    assert set(visits.heard) <= {address}, "a request or a message in the console"
