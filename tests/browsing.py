"""Pages in a real browser: what the tests of the report and of the comparison share.

Needs a system Chromium. Without one the tests are skipped, or fail where they must run: in CI.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BROWSERS = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
BROWSER = next(filter(None, BROWSERS), "")
MUST_RUN = bool(os.environ.get("CI") or os.environ.get("ONECYCLE_REQUIRE_BROWSER"))
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()

needs_browser = pytest.mark.skipif(
    not BROWSER and not MUST_RUN, reason="no Chromium here; install it: apt-get install chromium"
)


@contextmanager
def running_browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    assert BROWSER, "CI needs Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield running
        running.close()


OWN = "data:", "blob:"
"""How addresses begin of what a page holds or has made itself."""


class Visits:
    """Opens pages in windows of their own, and hears what they ask for and say.

    Attributes:
        heard: messages in the console, errors of scripts, and requests other than for data in the
            page itself.
    """

    def __init__(self, browser: Any, address: str) -> None:
        self._browser, self._address = browser, address
        self._contexts: list[Any] = []
        self.heard: list[str] = []

    def __call__(self, width: int = 1200, height: int = 900, **settings: Any) -> Any:
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, offline=True, **settings
        )
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.heard.append(message.text))
        page.on("pageerror", lambda error: self.heard.append(str(error)))
        page.on("request", lambda r: r.url.startswith(OWN) or self.heard.append(r.url))
        page.goto(self._address)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()


def open_all_details(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")


def page_width(page: Any) -> int:
    """Pixels that the page takes from left to right, scrolled or not."""
    return page.evaluate("document.documentElement.scrollWidth")


def wait_until(page: Any, expression: str, seconds: float = 2) -> None:
    """Until JavaScript's `expression` is true. Playwright's own way evaluates it within the page,
    whose policy forbids that."""
    for _ in range(round(seconds / 0.02)):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"never true: {expression}")


PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 28)"}
"""Background of the pages in each scheme."""

CONTRASTS = """() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
  const background = (element) => {
    if (!element) return [255, 255, 255];
    const colour = parse(getComputedStyle(element).backgroundColor);
    if (colour[3] === 1) return colour.slice(0, 3);
    return over(colour, background(element.parentElement));
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || ["SCRIPT", "STYLE", "TITLE", "title"].includes(element.tagName)) continue;
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const under = background(element);
    const ink = parse(element.closest("svg") ? style.fill : style.color);
    const [one, other] = [luminance(over(ink, under)), luminance(under)];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    found.push([ratio, text.slice(0, 40)]);
  }
  return found;
}"""
"""The contrast of each visible text with what lies under it, after WCAG 2.2."""
