"""Time and memory of the main job: ``python -m tests.benchmarks.demo_study``.

Runs ``python -m sdl_study.run`` in an empty folder, as ``make study`` does after installing, and prints how long it
took and the most memory that all of its processes held at once (PSS: shared pages are counted once).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from sdl_study.report.tables import text_table

_EVERY_SECONDS = 2.0


def memory_of(process: psutil.Process) -> tuple[int, int]:
    """Bytes held by a process and all below it, and their number."""
    total, count = 0, 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
            count += 1
        except psutil.Error:
            continue
    return total, count


def measure(arguments: list[str], log: Path) -> dict[str, object]:
    """Run the command line and watch it."""
    started = time.monotonic()
    peak, processes = 0, 0
    first_result = None
    with log.open("w", encoding="utf-8") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", "sdl_study.run", *arguments], stdout=output, stderr=subprocess.STDOUT
        )
        while running.poll() is None:
            held, count = memory_of(psutil.Process(running.pid))
            peak, processes = max(peak, held), max(processes, count)
            if first_result is None and "epoch 1/" in log.read_text(encoding="utf-8"):
                first_result = time.monotonic() - started
            time.sleep(_EVERY_SECONDS)
    return {
        "command": " ".join(["sdl_study.run", *arguments[:-2]]),
        "exit": running.returncode,
        "minutes": (time.monotonic() - started) / 60,
        "first epoch s": first_result,
        "peak GB": peak / 1e9,
        "processes": processes,
    }


def main() -> None:
    """Print the table and the end of the command's own output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("arguments", nargs="*", help="arguments of sdl_study.run (default: both demos)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "output.txt"
        row = measure([*given.arguments, "--out", str(Path(folder) / "studies")], log)
        print(log.read_text(encoding="utf-8"))
    columns = {
        "command": "",
        "exit": "",
        "minutes": ".1f",
        "first epoch s": ".0f",
        "peak GB": ".1f",
        "processes": "",
    }
    print(text_table([row], columns))


if __name__ == "__main__":
    main()
