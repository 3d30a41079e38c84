"""The regret of learning rate suggestions, measured: `python -m benchmarks.lr_finder_regret`."""
