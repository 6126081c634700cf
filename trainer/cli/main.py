"""The command line `tumor`: every command, with one handler of errors around all of them."""

import typer

from serving.app.serve import serve
from serving.cli.commands import predict
from serving.cli.terminal import CommandGroup
from trainer.cli.audit import audit
from trainer.cli.data import build
from trainer.cli.evaluate import compare, evaluate, floor, tabulate
from trainer.cli.guard import guard, refit_guard
from trainer.cli.hub import pull, push, space
from trainer.cli.train import export, train

app = typer.Typer(
    cls=CommandGroup,
    help="Brain MRI slices: data, training, evaluation, prediction. A research tool, not a medical device.",
    no_args_is_help=True,
)
COMMANDS = (
    *(predict, serve, push, pull, space, build, audit, train, export),
    *(evaluate, compare, floor, tabulate, guard, refit_guard),
)
for command in COMMANDS:
    app.command()(command)
