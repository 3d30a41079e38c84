"""What the commands show to a person. Each function gets figures and prints them."""

from onecycle.cli.screens.image_sets import cleaned, data
from onecycle.cli.screens.layers import folded, summary
from onecycle.cli.screens.parts import (
    LONGEST_NAME,
    MOST_ROWS,
    UNLIMITED,
    balanced,
    console,
    new_table,
    on_a_line,
    print_pairs,
    print_table,
    print_text,
    shortened,
)
from onecycle.cli.screens.recipe_list import recipes
from onecycle.cli.screens.runs import found_rates, trained

__all__ = [
    "LONGEST_NAME", "MOST_ROWS", "UNLIMITED", "balanced", "cleaned", "console", "data", "folded",
    "found_rates", "new_table", "on_a_line", "print_pairs", "print_table", "print_text", "recipes",
    "shortened", "summary", "trained",
]  # fmt: skip
