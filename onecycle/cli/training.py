"""`onecycle train`, `onecycle resume`, and what `resume --verify` does."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from onecycle.cli.call import Call, write
from onecycle.config import Recipe
from onecycle.errors import TrainingError

if TYPE_CHECKING:
    from onecycle.training import Run


def train(call: Call, recipe: Recipe) -> None:
    """Train. JSON: what result.json holds, and `run`, the folder."""
    with call.progress() as progress:
        from onecycle.training import train

        run = train(
            recipe,
            network=call.network,
            runs=call.options.runs,
            threads=call.options.threads,
            report=not call.options.no_report,
            log=call.options.log,
            command=call.command_line,
            started=call.started,
            progress=progress,
        )
    _answer_run(call, run)


def resume(call: Call) -> None:
    """Go on with a run. JSON: as of `train`; with --verify: what `Verification` holds."""
    if call.options.verify:
        verify(call)
        return
    with call.progress() as progress:
        from onecycle.training import resume

        run = resume(
            call.operand,
            data=call.given.values.get("data"),
            network=call.network,
            threads=call.options.threads,
            report=not call.options.no_report,
            log=call.options.log,
            allow_differences=call.options.allow_differences,
            progress=progress,
        )
    _answer_run(call, run)


def verify(call: Call) -> None:
    """Replay the end of a run.

    Raises:
        TrainingError: the replay differs.
    """
    with call.progress() as progress:
        from onecycle.training import verify

        found = verify(
            call.operand,
            data=call.given.values.get("data"),
            network=call.network,
            threads=call.options.threads,
            progress=progress,
        )
    told = (
        f"{found.run}: trained {_steps(found.from_step, found.to_step - 1)} again; every rate, "
        f"loss and figure and all {found.tensors} tensors are bit-identical\n"
    )
    if found.equal or call.options.json:
        call.answer(asdict(found) | {"equal": found.equal}, lambda: write(told))
    if not found.equal:
        raise TrainingError(f"{found.run}: the replay differs: {found.told}")


def _steps(first: int, last: int) -> str:
    """`steps 4 to 7`, or `step 4`."""
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _answer_run(call: Call, run: "Run") -> None:
    from onecycle.cli import screens

    found = {**run.result, "run": str(run.path)}
    call.answer(found, lambda: screens.trained(run.path, run.record))
