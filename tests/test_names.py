"""Names that would move a cursor or reverse the writing direction are escaped everywhere."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from drawn_run import make_run
from hypothesis import given
from hypothesis import strategies as st
from simulated_runs import write_run

from onecycle.experiments import compare, to_html
from onecycle.plots import confusion, png
from onecycle.plots.style import one_line
from onecycle.report import write_report
from onecycle.writing.names import on_a_page, printable

ODD = "\x00\x07\x1b\x7f\x85\xad\u061c\u200b\u200f\u2028\u202e\u2066\u2069\ufeff\U000e0041\udce9"
"""One of each kind: controls, soft hyphen, zero width, directions, a mark, a tag, a byte."""

NAMES = ["a\x1b[31mred", "cat\u202egnp.exe", "$\\frac{1}{", '<b>"&\u200b']


@given(st.text())
def test_what_is_shown_is_printable_and_shows_what_was_printable(text):
    shown = printable(text)
    assert shown.isprintable()
    assert (shown == text) == text.isprintable()


def test_each_odd_character_is_escaped():
    for character in ODD:
        code = ord(character)
        short = f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
        wanted = short if code < 65536 else f"\\U{code:08x}"
        assert printable(f"a{character}b") == f"a{wanted}b"
        assert one_line(f"a{character}b") in (printable(f"a{character}b"), "a b")


def test_a_page_keeps_thin_spaces_and_numbers():
    assert on_a_page("99.9\u202f%\x1b") == "99.9\u202f%\\x1b"
    assert on_a_page(7) == 7


def assert_shown(page: str) -> None:
    assert not set(page) & set(ODD)
    assert r"a\x1b[31mred" in page
    assert r"cat\u202egnp.exe" in page
    assert r"&lt;b&gt;&#34;&amp;\u200b" in page


def test_a_report_escapes_odd_names(tmp_path):
    run = make_run(tmp_path, NAMES, 80)
    assert_shown(write_report(run).read_text(encoding="utf-8"))


def test_a_comparison_escapes_odd_names(tmp_path):
    right = np.arange(60) > 2
    names = np.array([NAMES[index % 4] + str(index) for index in range(60)])
    for seed in range(2):
        write_run(tmp_path / f"{seed}", right, seed=seed, names=names)
    found = compare(tmp_path)
    page = to_html(found)
    assert not set(page) & set(ODD)
    assert r"a\x1b[31mred" in page
    assert not set(found.to_markdown()) & set(ODD)


@pytest.mark.parametrize("name", ["=cmd|'C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\x1b=1"])
def test_no_cell_of_a_table_is_a_formula(tmp_path, name):
    write_run(tmp_path / "run", np.arange(60) > 2, recipe=name)
    (row,) = csv.DictReader(io.StringIO(compare(tmp_path).to_csv()))
    assert row["recipe"].isprintable()
    assert row["recipe"][0] not in "=+-@"
    assert float(row["test_accuracy_mean"]) > 0


def test_plots_take_odd_names():
    assert png(confusion(np.eye(4, dtype=np.int64), NAMES)).startswith(b"\x89PNG")


def test_the_screen_escapes_odd_names(tmp_path: Path, capsys):
    from onecycle.cli.terminal import PlainProgress, Unbreakable

    stream = io.StringIO()
    PlainProgress(Unbreakable(stream)).note("class 'a\x1b[2J'")
    assert stream.getvalue() == "class 'a\\x1b[2J'\n"
