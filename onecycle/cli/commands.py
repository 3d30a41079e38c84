"""The commands: each calls one function of the package and shows what it returns."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from onecycle import terminal
from onecycle.cli.flags import OPTION_FIELDS, Given, Options, Words, kind_in_words, spelled
from onecycle.config import FIELDS, Recipe, override, read_recipe, to_toml
from onecycle.errors import InputError
from onecycle.progress import Progress
from onecycle.recipes import RECIPES, named

MOST_THREADS = 1024
"""More CPU threads than this are a mistake."""


@dataclass(frozen=True)
class Call:
    """One use of a command.

    Attributes:
        given: the operand and the recipe's fields that the user gave.
        options: the flags that are no part of a recipe.
        command_line: the whole of it, for the record.
        started: `time.perf_counter()` when the command began.
    """

    given: Given
    options: Options
    command_line: tuple[str, ...]
    started: float

    @property
    def operand(self) -> str:
        """The word beside the flags."""
        return self.given.operand or ""

    def progress(self) -> AbstractContextManager[Progress]:
        """A listener on standard error while the block runs."""
        return terminal.shown(sys.stderr, quiet=self.options.quiet)

    @contextmanager
    def environment(self) -> Iterator[None]:
        """The environment while the command runs: `--mirror` stands for a variable of its own."""
        if not self.options.mirror:
            yield
            return
        from onecycle.data.download import MIRRORS

        before = os.environ.get(MIRRORS)
        os.environ[MIRRORS] = self.options.mirror
        try:
            yield
        finally:
            del os.environ[MIRRORS]
            if before is not None:
                os.environ[MIRRORS] = before

    def answer(self, value: Mapping[str, Any], show: Callable[[], None]) -> None:
        """Give the result: as JSON if asked for, else as `show` draws it."""
        if self.options.json:
            _write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        else:
            show()


def _write(text: str) -> None:
    sys.stdout.write(text)


def call_of(given: Given, command_line: tuple[str, ...], started: float) -> Call:
    """The call that the user's words make.

    Raises:
        InputError: an option that is no part of a recipe has a value that it can't have.
    """
    values = {name: value for name, value in given.values.items() if name in OPTION_FIELDS}
    for name, value in values.items():
        kind = OPTION_FIELDS[name].type
        if not isinstance(value, kind):  # pyright: ignore[reportArgumentType] - plain classes
            raise InputError(f"{spelled(name)}: '{value}' is not {kind_in_words(kind)}")
    options = Options(**values)
    if not 0 <= options.threads <= MOST_THREADS:
        raise InputError(
            f"--threads: {options.threads} is out of range; give a number up to {MOST_THREADS}"
        )
    changes = {name: value for name, value in given.values.items() if name in FIELDS}
    return Call(Given(given.operand, changes), options, command_line, started)


def resolved(call: Call) -> Recipe:
    """The recipe that a call names: a flag beats the file, the file beats the named recipe.

    Raises:
        InputError: neither a recipe nor a file is given, there is none such, or a value is refused.
    """
    if not call.operand and not call.options.config:
        raise InputError(
            f"which recipe? name one of {', '.join(RECIPES)}, or give a file with --config"
        )
    if call.operand.endswith(".toml"):
        raise InputError(f"recipe: '{call.operand}' is a file; give it with --config")
    recipe = named(call.operand).recipe if call.operand else Recipe()
    if call.options.config:
        recipe = read_recipe(call.options.config, base=recipe)
    return override(recipe, **call.given.values)


def on_a_recipe(work: Callable[[Call, Recipe], None]) -> Callable[[Call], None]:
    """A command that works on a recipe, or prints it if asked to."""

    def command(call: Call) -> None:
        recipe = resolved(call)
        if call.options.print_config:
            call.answer(asdict(recipe), lambda: _write(to_toml(recipe)))
        else:
            work(call, recipe)

    return command


def recipes(call: Call) -> None:
    """List the named recipes. JSON: `recipes`, each with its fields and its evidence."""
    rows = []
    for name, entry in RECIPES.items():
        evidence = asdict(entry)
        rows.append({"name": name} | evidence | {"recipe": evidence["recipe"]})

    def show() -> None:
        from onecycle.cli import screens

        screens.recipes(rows)

    call.answer({"recipes": rows}, show)


def summary(call: Call, recipe: Recipe) -> None:
    """Describe the network. JSON: `parameters`, `macs`, `layers`."""
    from onecycle.cli import screens
    from onecycle.training import describe

    found = asdict(describe(recipe))
    call.answer(found, lambda: screens.summary(f"{recipe.model} ({recipe.recipe})", found))


def data(call: Call) -> None:
    """Describe images. JSON: `classes`, `splits` with their counts, statistics, fingerprint."""
    from onecycle.cli import screens
    from onecycle.data import load_splits

    recipe = override(Recipe(data=call.operand), **call.given.values)
    with call.progress() as progress:
        splits = load_splits(
            recipe.data,
            label_set=recipe.label_set,
            image_size=recipe.image_size,
            resize=recipe.resize,
            on_bad_image=recipe.on_bad_image,
            train_limit=recipe.train_limit,
            test_limit=recipe.test_limit,
            val_fraction=recipe.val_fraction,
            split_seed=recipe.split_seed,
            progress=progress,
        )
        mean, std = splits.train.channel_statistics()
    sets = {"train": splits.train, "val": splits.val, "test": splits.test}
    found = {
        "source": splits.source,
        "fingerprint": splits.fingerprint,
        "image_shape": list(splits.train.image_shape),
        "mean": list(mean),
        "std": list(std),
        "classes": list(splits.train.classes),
        "splits": {
            name: {"images": len(images), "class_counts": images.class_counts().tolist()}
            for name, images in sets.items()
            if images is not None
        },
    }
    call.answer(found, lambda: screens.data(found))


def find_lr(call: Call, recipe: Recipe) -> None:
    """Run the range test. JSON: `lr_min`, `lr_max`, `suggestions`, `curve` and more."""
    plot = call.options.plot and Path(call.options.plot)
    if plot and not plot.parent.is_dir():
        raise InputError(f"--plot: there is no folder '{plot.parent}'; make it first")
    with call.progress() as progress:
        from onecycle.cli import screens
        from onecycle.training import find_lr

        finding = find_lr(recipe, threads=call.options.threads, progress=progress)
    if plot:
        from onecycle import figures, plots

        plots.save(figures.range_test(finding), plot)
    found = finding.to_json()
    call.answer(found, lambda: screens.found_rates(found, call.options.plot))


def train(call: Call, recipe: Recipe) -> None:
    """Train. JSON: what result.json holds, and `run`, the folder."""
    with call.progress() as progress:
        from onecycle.training import train

        run = train(
            recipe,
            runs=call.options.runs,
            threads=call.options.threads,
            command=call.command_line,
            started=call.started,
            progress=progress,
        )
    _answer_run(call, run.path, run.result)


def resume(call: Call) -> None:
    """Go on with a run. JSON: as of `train`."""
    with call.progress() as progress:
        from onecycle.training import resume

        run = resume(call.operand, threads=call.options.threads, progress=progress)
    _answer_run(call, run.path, run.result)


def _answer_run(call: Call, path: Path, result: Mapping[str, Any]) -> None:
    from onecycle.cli import screens

    found = {**result, "run": str(path)}
    call.answer(found, lambda: screens.trained(found))


def evaluate(call: Call) -> None:
    """Evaluate a run. JSON: `test_accuracy`, `test_loss` and more."""
    with call.progress() as progress:
        from onecycle.cli import screens
        from onecycle.training import evaluate_run

        result = evaluate_run(
            call.operand,
            data=call.given.values.get("data"),
            threads=call.options.threads,
            progress=progress,
        )
    call.answer(result, lambda: screens.evaluated(result))


def report(call: Call) -> None:
    """Write a run's report. JSON: `run` and `report`, the file."""
    from onecycle.report import write_report
    from onecycle.run_dir import RunDir

    path = str(write_report(RunDir.open(call.operand)))
    call.answer({"run": call.operand, "report": path}, lambda: _write(f"{path}\n"))


# ----------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        work: does it.
        summary: what it does, for the page of all commands.
        operand: what the word beside its flags stands for; empty: none.
        told: help for that word, by its name, and for flags that have a meaning of their own here.
        options: its flags from `Options`.
        fields: its flags from `Recipe`.
    """

    work: Callable[[Call], None]
    summary: str
    operand: str = ""
    told: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    def words(self, command: str) -> Words:
        """What the command accepts, `command` being its name."""
        types = {option: OPTION_FIELDS[option].type for option in self.options}
        types |= {name: FIELDS[name].type for name in self.fields}
        return Words(command, self.operand, types, operand_required="config" not in self.options)


_RECIPE = {"RECIPE": "Name of a recipe, see `onecycle recipes`; may be left out with --config."}
_RUN = {"RUN": "Folder of a run."}
_SPLITS = ("label_set", "train_limit", "test_limit", "val_fraction", "image_size", "split_seed")
_SPLITS += ("resize", "on_bad_image")
_ALL = tuple(FIELDS)

COMMANDS = {
    "recipes": Command(
        recipes, "list the recipes, with expected accuracy and time", options=("json",)
    ),
    "summary": Command(
        on_a_recipe(summary),
        "show the network's layers: shape, parameters, receptive field",
        "RECIPE",
        _RECIPE,
        ("config", "print_config", "json"),
        _ALL,
    ),
    "data": Command(
        data,
        "load and check images; count classes, measure channels",
        "NAME|PATH",
        {
            "NAME|PATH": "`shapes`, `cifar10`, `cifar100`, or the path of class folders, of a "
            "table of images (.csv) or of a CIFAR archive."
        },
        ("mirror", "quiet", "json"),
        _SPLITS,
    ),
    "find-lr": Command(
        on_a_recipe(find_lr),
        "run the learning rate range test alone",
        "RECIPE",
        _RECIPE,
        ("config", "threads", "mirror", "plot", "quiet", "print_config", "json"),
        _ALL,
    ),
    "train": Command(
        on_a_recipe(train),
        "find the rates, train, and leave a run folder",
        "RECIPE",
        _RECIPE,
        ("config", "runs", "threads", "mirror", "quiet", "print_config", "json"),
        _ALL,
    ),
    "resume": Command(
        resume,
        "go on with a run that was stopped",
        "RUN",
        _RUN,
        ("threads", "mirror", "quiet", "json"),
    ),
    "evaluate": Command(
        evaluate,
        "measure a run's network on its test split, or on other data",
        "RUN",
        _RUN
        | {"data": "Test on these images instead: built-in set, or path, of the same classes."},
        ("threads", "mirror", "quiet", "json"),
        ("data",),
    ),
    "report": Command(report, "write a run's report.html again", "RUN", _RUN, ("json",)),
}
