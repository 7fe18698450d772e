import json
from collections.abc import Callable
from typing import Any

import pytest

from tl_pipeline.cli.app import run_command


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command with `--json` and returns what stdout held."""

    def ask(*argv: object) -> Any:
        assert run_command([*map(str, argv), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return ask
