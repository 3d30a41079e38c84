"""Other trainers against onecycle on the same work: `python -m benchmarks.peers`."""
