"""Progress where there is no terminal: a line every ten seconds, none at the end."""

import pytest

from tl_pipeline.cli import console
from tl_pipeline.cli.console import Lines


def test_lines_tell_rate_and_time_left_and_nothing_when_all_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    lines = Lines()
    for total, seconds in ((1000, 0.125), (4, 30.0)):
        lines.start("work", total)
        for _ in range(total):
            now[0] += seconds
            lines.advance(1)
        lines.finish()
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "work: 80 of 1,000, 8/s, about 115 s left"
    assert told[-1] == "work: 3 of 4, 2.0 a minute, about 30 s left"
    assert len(told) == 12 + 3
