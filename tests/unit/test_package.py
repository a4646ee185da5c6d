"""The package as a whole: imports go one way, and nothing reports its usage."""

from __future__ import annotations

import os
import subprocess
import sys

SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def run_python(code: str, **environment: str) -> str:
    """Standard output of ``code`` in a process of its own, without the usage switches of this one."""
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_turns_usage_reporting_off() -> None:
    code = f"import os, sdl_study; print([os.environ.get(name) for name in {list(SWITCHES)}])"
    assert run_python(code).strip() == str(list(SWITCHES.values()))


def test_a_users_own_switch_wins() -> None:
    code = "import os, sdl_study; print(os.environ['RAY_USAGE_STATS_ENABLED'])"
    assert run_python(code, RAY_USAGE_STATS_ENABLED="1").strip() == "1"
