"""What a pipeline's command prints where something is wrong in the program itself."""

from __future__ import annotations

import pytest

from pipelines.shared.runner import main


def test_an_unexpected_exception_shows_places_and_never_its_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    note = "Patient John has pneumonia"

    def broken(_: list[str]) -> None:
        raise ValueError(note)

    with pytest.raises(SystemExit) as caught:
        main(broken)
    assert caught.value.code == 1
    told = capsys.readouterr().err
    assert "internal error: ValueError" in told
    assert "test_runner.py" in told
    assert note not in told
