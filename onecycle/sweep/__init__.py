"""Search for better settings of a recipe: many trainings, judged on validation images.

`search` is the whole of it. A `space` says what is searched. The `study` chooses settings, gives up
what is worse than the rest, and keeps what was seen. The trainings are trials of `onecycle.trials`.
"""

from onecycle.sweep.result import Sweep
from onecycle.sweep.search import search
from onecycle.sweep.space import Space, read_space, read_tables
from onecycle.sweep.tried import Tried

__all__ = ["Space", "Sweep", "Tried", "read_space", "read_tables", "search"]
