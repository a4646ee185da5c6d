"""A tracking server: checked before a study starts, shown without its password."""

from __future__ import annotations

import shlex
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sdl_study.errors import UserError, without_password
from sdl_study.run import main
from sdl_study.study.tracking_server import check_reachable, how_to_look


@pytest.fixture
def server() -> Iterator[type[Answers]]:
    Answers.asked.clear()
    running = HTTPServer(("127.0.0.1", 0), Answers)
    Answers.port = running.server_port
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield Answers
    running.shutdown()
    thread.join()
    running.server_close()


class Answers(BaseHTTPRequestHandler):
    status = 200
    port = 0
    asked: list[str] = []  # noqa: RUF012 (shared on purpose)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        pass


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize("status", [200, 401, 403, 404, 500])
def test_whatever_answers_is_reachable(
    server: type[Answers], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "status", status)
    check_reachable(f"http://user:secret@127.0.0.1:{server.port}/mlflow/")
    assert server.asked == ["/mlflow/health"]


def test_a_gateway_with_nothing_behind_it(server: type[Answers], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "status", 503)
    with pytest.raises(UserError, match=r"not reachable \(HTTP 503\)"):
        check_reachable(f"http://127.0.0.1:{server.port}")


@pytest.mark.parametrize("uri", ["http://", "http://host:word", "https://[::1", ""])
def test_an_address_that_cannot_be_read(uri: str) -> None:
    with pytest.raises(UserError, match="--tracking-uri") as caught:
        check_reachable(uri)
    assert "\n" not in str(caught.value)


def test_a_server_that_listens_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UserError, match="not reachable"):
        check_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.5)


def test_another_kind_of_uri_is_left_to_mlflow() -> None:
    check_reachable("sqlite:////nowhere/mlflow.db")


def test_a_study_with_an_unreachable_server_says_so_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, began = tmp_path / "studies", time.monotonic()
    uri = f"http://user:secret@127.0.0.1:{closed_port()}"
    assert main(["study", "demo_coco", "--tracking-uri", uri, "--out", str(out)]) == 2
    assert time.monotonic() - began < 30
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "the server is not reachable (Connection refused)" in told
    assert "secret" not in told
    assert not out.exists()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:secret@host:5000/a", "http://...@host:5000/a"),
        ("http://user:s@cret@host/@b", "http://...@host/@b"),
        ("http://secret@host", "http://...@host"),
        ("postgresql+psycopg2://user:secret@host/db", "postgresql+psycopg2://...@host/db"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?user=me&password=..."),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////a/b@c/mlflow.db", "sqlite:////a/b@c/mlflow.db"),
    ],
)
def test_a_uri_is_shown_without_its_password(uri: str, shown: str) -> None:
    assert without_password(uri) == shown
    assert how_to_look(uri, "").endswith(shlex.quote(shown) if not uri.startswith("http") else shown)


def test_the_closing_line_is_a_command_that_a_shell_reads_or_an_address() -> None:
    command = shlex.split(how_to_look(None, "sqlite:////a b/mlflow's.db"))
    assert command[-3:] == ["ui", "--backend-store-uri", "sqlite:////a b/mlflow's.db"]
    assert how_to_look("http://user:secret@host:5000", "sqlite:////a") == "http://...@host:5000"
