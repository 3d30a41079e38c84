"""The training engine: a plan, one step, and the loop.

`plan` says what will be done. `state` holds what a training works on, and where it stands. `loop`
does it: `fit` is the loop, `step` the one step. `transform_check` measures what was really done to
the images.
"""
