"""`onecycle report`: a run's report and plots, made from its folder."""

from dataclasses import asdict

from onecycle.cli.call import Call, write
from onecycle.cli.trials import is_trials, report_folds


def report(call: Call) -> None:
    """Write a run's report, and draw the plots that it lacks; or the pages of a cross-validation.

    JSON: `run`, `report`, the file, `drawn`, the plots drawn, and `audit`, its lines by section.
    """
    if is_trials(call.operand):
        report_folds(call)
        return
    from onecycle import pictures
    from onecycle.audit import audit
    from onecycle.report import write_report
    from onecycle.run_dir import RunDir

    run = RunDir.open(call.operand)
    drawn = pictures.write_missing(run)
    path = str(write_report(run))
    lines = {name: [asdict(line) for line in found] for name, found in audit(run).items()}
    found = {"run": call.operand, "report": path, "drawn": drawn, "audit": lines}
    call.answer(found, lambda: write(f"{path}\n"))
