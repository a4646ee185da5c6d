"""The model registry: a study's winner as a version of a registered model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from sdl_study.errors import UserError

_DECLARATION = "sdl.declaration"


def registered(client: MlflowClient, name: str, run: str, declaration: str) -> str | None:
    """The version that a run's winner under a declaration has among a registered model's; None where it is none yet.

    Args:
        client: MLflow's.
        name: of the registered model.
        run: its id.
        declaration: under which the model won; what tells versions of one study from each other.
    """
    with _refusals(name):
        for version in client.search_model_versions(f"name = '{name}'"):
            if version.run_id == run and version.tags.get(_DECLARATION) == declaration:
                return str(version.version)
    return None


def register(
    client: MlflowClient, name: str, run: str, folder: str, declaration: str, description: str
) -> str:
    """Make a folder of a run's artifacts a version of a registered model, which is made where there is none.

    Args:
        client, name, run, declaration: as ``registered``.
        folder: among its artifacts.
        description: of the version, in Markdown.

    Raises:
        UserError: MLflow does not take the name, or keeps no models where it tracks runs.
    """
    with _refusals(name):
        _make_model(client, name)
        made = client.create_model_version(
            name, f"runs:/{run}/{folder}", run, {_DECLARATION: declaration}, description=description
        )
    return str(made.version)


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """What the registry refuses is one line."""
    try:
        yield
    except MlflowException as error:
        raise UserError(
            f"--register {name}: MLflow's registry does not take it ({error.error_code}); choose another name, without "
            "'/', ':' and quotes"
        ) from None


def _make_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
