"""`tl-pipeline`, the command line: thin calls of the library, and all the printing."""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 done, 1 failed, 2 a wrong request."""
    from tl_pipeline.allocation import keep_freed_memory
    from tl_pipeline.cli.app import run_command
    from tl_pipeline.cli.stopping import stop_on_signals
    from tl_pipeline.compilation import keep_compiled_programs

    keep_freed_memory()
    stop_on_signals()
    keep_compiled_programs()
    sys.exit(run_command(list(sys.argv[1:] if argv is None else argv)))
