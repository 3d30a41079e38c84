"""The process of one contender; the referee starts it with its module, work and setting."""

import importlib
import json
import os
import sys

from benchmarks.peers.turns import Turns
from benchmarks.peers.work import Setting, Work


def main() -> None:
    module, work, setting = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a framework prints goes to the log
    turns = Turns(sys.stdin, answers)
    program = importlib.import_module(f"benchmarks.peers.{module}")
    program.train(Work(**json.loads(work)), Setting(**json.loads(setting)), turns)


if __name__ == "__main__":
    main()
