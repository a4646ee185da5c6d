"""An S3-compatible server on loopback, in a process of its own or in this one, and what is looked at on it.

``python -m tests.storages PORT_FILE`` serves until it is ended, and writes its address to the file.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from moto.server import ThreadedMotoServer

from sdl_study.files import write_text

BUCKET = "studies"


def environment(address: str) -> dict[str, str]:
    """What a user sets for such a server; the words are found nowhere else."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key-of-the-tests",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def server() -> Iterator[str]:
    """A server with one empty bucket; its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    address = f"http://{host}:{port}"
    try:
        make_bucket(address, BUCKET)
        yield address
    finally:
        running.stop()


def make_bucket(address: str, name: str) -> None:
    """A new bucket."""
    from pyarrow import fs

    given = environment(address)
    fs.S3FileSystem(
        endpoint_override=address,
        region=given["AWS_DEFAULT_REGION"],
        access_key=given["AWS_ACCESS_KEY_ID"],
        secret_key=given["AWS_SECRET_ACCESS_KEY"],
        allow_bucket_creation=True,
    ).create_dir(name)


def contents(folder: Path) -> Mapping[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def main(port_file: Path) -> None:
    """Serve until ended."""
    with server() as address:
        write_text(port_file, address)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
