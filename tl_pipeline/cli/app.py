"""The commands by name, and what becomes of an error.

Commands load when they are called: the help page, and `store ls`, come at once.
"""

import importlib.metadata
import logging
import os
import sys
import warnings

from cyclopts import App, CycloptsError, Group

from tl_pipeline.cli import stopping
from tl_pipeline.errors import TlPipelineError

_START = Group("Start here", sort_key=0)
_MORE = Group("More commands", sort_key=1)
_HELP = Group("Help", sort_key=2)

# Each command's help stands here as well as in its docstring, whose module would have
# to be loaded for it.
_COMMANDS = {
    "quickstart": (
        "pipeline",
        _START,
        "Watch a transfer happen: offline, in a minute.",
    ),
    "init": ("pipeline", _START, "Write a commented pipeline.toml with every key."),
    "run": ("pipeline", _START, "Run the whole pipeline of a pipeline.toml."),
    "train": ("stages", _START, "Train heads on cached features."),
    "predict": ("stages", _START, "Predict the classes of new examples."),
    "plan": ("plan", _MORE, "Say what a run would compute, write and take."),
    "extract": ("stages", _MORE, "Run a dataset through a backbone, cache features."),
    "schedule": ("schedule", _MORE, "Run the pipeline on a schedule, by Prefect."),
    "finetune": ("finetune", _MORE, "Train a run's backbone on below its head."),
    "rank": ("rank", _MORE, "Rank the features of stores for a task."),
    "relate": ("relate", _MORE, "Say which tasks of a store help which."),
    "shift": ("shift", _MORE, "Say how another dataset differs, and what would help."),
    "robustness": (
        "robustness",
        _MORE,
        "Score a run's head on corrupted test examples.",
    ),
    "compare": ("gate", _MORE, "Compare two runs on the test examples of both."),
    "rollback": ("gate", _MORE, "Put the run before the one in use into use again."),
}
_STORE_COMMANDS = {
    "ls": "List the stores under a folder.",
    "show": "Show what is in a store, and where it came from.",
    "gc": "Drop what no kept snapshot uses; a dry run without --yes.",
    "verify": "Compare every byte of a store with what was committed.",
    "export": "Write features and targets to one plain file.",
    "import": "Make a store of features that were made elsewhere.",
}
_INSPECT_COMMANDS = {
    "diff": "Show what differs between two stores, or two snapshots of one.",
    "stats": "Show what of a store's rows and labels deserves a look.",
    "neighbors": "Show the examples that the backbone finds most like one.",
    "cluster": "Group examples that the backbone finds alike; no label is needed.",
    "plot": "Draw a store's rows as points of a plane.",
}
_BACKBONE_COMMANDS = {
    "ls": "List the backbones.",
    "show": "Show a backbone: features, shapes, work, weights, input.",
    "check": "Test a checkpoint: all of it used, finite, the same in a batch.",
}


def make_app() -> App:
    """Builds the tree of commands."""
    app = App(
        name="tl-pipeline",
        help="Transfer learning on cached features: run a frozen backbone once, "
        "train heads in seconds.",
        version=importlib.metadata.version("tl-pipeline"),
        help_epilogue="Every command reports with --json, and shows a failure's "
        "traceback with --debug.",
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # it exits without a word
    )
    app["--help"].group = _HELP
    app["--version"].group = _HELP
    for name, (module, group, text) in _COMMANDS.items():
        home = f"tl_pipeline.cli.{module}_commands"
        app.command(f"{home}:{name}", name=name, group=group, help=text)
    store = App(name="store", help="Look into feature stores.", group=_START)
    for name, text in _STORE_COMMANDS.items():
        home = "tl_pipeline.cli.store_commands"
        attribute = {"import": "import_"}.get(name, name)  # a keyword of Python
        store.command(f"{home}:{attribute}", name=name, help=text)
    for name, text in _INSPECT_COMMANDS.items():
        store.command(f"tl_pipeline.cli.inspect_commands:{name}", name=name, help=text)
    store.command(
        "tl_pipeline.cli.explore_commands:explore",
        name="explore",
        help="Look at a store's rows on an interactive page.",
    )
    backbone = App(name="backbone", help="Look into backbones.", group=_MORE)
    for name, text in _BACKBONE_COMMANDS.items():
        home = f"tl_pipeline.cli.backbone_commands:{name}"
        backbone.command(home, name=name, help=text)
    app.command(store)
    app.command(backbone)
    return app


def run_command(argv: list[str]) -> int:
    """Runs one command line and returns its exit code; errors become one message."""
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    logging.basicConfig(
        level=logging.INFO if debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )
    # Pillow warns of odd pictures, which are listed as failures where they matter.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        make_app()(argv, exit_on_error=False, print_error=False)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (CycloptsError, TlPipelineError, OSError) as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, CycloptsError):
            return 2
        return error.exit_code if isinstance(error, TlPipelineError) else 1
    except Exception as error:
        if debug:
            raise
        # Not foreseen: the kind of error says more than its text alone.
        kind, text = type(error).__name__, str(error) or "no message"
        print(f"error: {kind}: {text}; --debug shows where", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return stopping.tell_stopped()
    return 0
