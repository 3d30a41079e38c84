"""`onecycle evaluate`: a run's network on its test split or on other images."""

from onecycle.cli.call import Call


def evaluate(call: Call) -> None:
    """Evaluate a run. JSON: `test_accuracy`, `test_loss` and more, see docs/data.md."""
    predictions = call.place("predictions")
    with call.progress() as progress:
        from onecycle.cli import evaluation
        from onecycle.training import evaluate_run

        result = evaluate_run(
            call.operand,
            data=call.given.values.get("data"),
            network=call.network,
            ignore_unknown_classes=call.options.ignore_unknown_classes,
            predictions=predictions,
            checkpoint=call.options.checkpoint,
            threads=call.options.threads,
            progress=progress,
        )
    if predictions:
        result["predictions"] = str(predictions)
    call.answer(result, lambda: evaluation.evaluated(result))
