"""The command line: parse, call, render. Every option is also an environment variable.

    app.py       the application, its groups, what an error or an interrupt ends in
    options.py   options that several commands share, and what reads them
    making.py    run, sweep, calibrate, rejudge: what makes records
    using.py     ls, show, verify, board, schema, error-rates: what reads them, without torch
    data.py      trait: new, import, seed, check: what makes trait data and checks it
    judging.py   judge: cards, and the offline judge made again
    upkeep.py    store, tasks, models, toyland

Results go to stdout and everything else to stderr. Exit codes: 0 done; 1 a check that was asked for says no;
2 bad input; 3 the machine or a remote service (4, inconclusive, is kept for the gate). Heavy modules are imported by the
commands that need them, so `--help`, `ls`, `show` and `verify` never touch torch.
"""

from idembench.cli import data, judging, making, upkeep, using
from idembench.cli.app import app, main

__all__ = ["app", "data", "judging", "main", "making", "upkeep", "using"]
