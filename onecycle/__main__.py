"""`python -m onecycle`, which is the `onecycle` command; torchrun starts it this way too."""

import sys

from onecycle.cli import main

if __name__ == "__main__":
    sys.exit(main())
