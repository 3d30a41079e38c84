"""The training engine: a plan, one step, and the loop.

`plan` says what will be done. `state` holds what a training works on and where it stands. `loop`
does the work: `fit` is the loop, and `step` is the one step. `transform_check` and `replay` measure
how the images were really transformed.
"""
