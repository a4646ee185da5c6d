"""The MLflow server or database of a study: checked before it starts, and shown without its password.

MLflow itself waits for minutes on a server that does not answer, and then says only INTERNAL_ERROR.
"""

from __future__ import annotations

import http.client
import shlex
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from sdl_study.errors import UserError, without_password
from sdl_study.tracking import check_database

_ANSWER_SECONDS = 10.0
_BEHIND_IS_NOTHING = (502, 503, 504)


def check_tracking(uri: str) -> None:
    """What a tracking URI names can be used: a server answers, a database is one that MLflow can read and write.

    Raises:
        UserError: it cannot.
    """
    check_reachable(uri)
    check_database(uri)


def check_reachable(uri: str, seconds: float = _ANSWER_SECONDS) -> None:
    """Ask an HTTP tracking server for a sign of life; other kinds of URI are left to MLflow.

    Whatever answers counts: a refused password or certificate is MLflow's to tell.

    Raises:
        UserError: the address cannot be read, or nothing answers there.
    """
    if not uri:
        raise UserError("--tracking-uri: is empty; leave it out for a database in --out")
    if not uri.startswith(("http://", "https://")):
        return
    shown = f"--tracking-uri {without_password(uri)}"
    request = urllib.request.Request(_address(uri, shown).geturl().rstrip("/") + "/health")
    try:
        with urllib.request.urlopen(request, timeout=seconds):
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code not in _BEHIND_IS_NOTHING:
            return
        reason = f"HTTP {error.code}"
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return
        reason = getattr(error.reason, "strerror", None) or str(error.reason)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = type(error).__name__
    raise UserError(f"{shown}: the server is not reachable ({reason}); start it, or leave the option out")


def _address(uri: str, shown: str) -> SplitResult:
    """The parts of an address, without user and password."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = parts = None
    if parts is None or not host:
        raise UserError(f"{shown}: not an address; write it as http://HOST:PORT")
    host = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=host if port is None else f"{host}:{port}", query="", fragment="")


def how_to_look(tracking_uri: str | None, local_uri: str) -> str:
    """Where trials, parameters and metrics are seen: a server's address, or the command that shows a database."""
    uri = tracking_uri or local_uri
    shown = without_password(uri)
    if uri.startswith(("http://", "https://")):
        return shown
    found = Path(sys.executable).parent / "mlflow"
    command = [str(found) if found.exists() else "mlflow", "ui", "--backend-store-uri", shown]
    return f"MLFLOW_DISABLE_TELEMETRY=true {shlex.join(command)}"
