"""The model registry: a study's winner as a version of a registered model."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from sdl_study.errors import UserError

_DECLARATION = "sdl.declaration"


def register(
    client: MlflowClient, name: str, run: str, folder: str, declaration: str, description: str
) -> str:
    """The version of a registered model that is a folder of a run's artifacts; the one that is there, if it is.

    Args:
        client: MLflow's.
        name: of the registered model, made where there is none.
        run: its id.
        folder: among its artifacts.
        declaration: under which the model won; what tells versions of one study from each other.
        description: of the version, in Markdown.

    Raises:
        UserError: MLflow does not take the name, or keeps no models where it tracks runs.
    """
    try:
        _make_model(client, name)
        for version in client.search_model_versions(f"name = '{name}'"):
            if version.run_id == run and version.tags.get(_DECLARATION) == declaration:
                return str(version.version)
        made = client.create_model_version(
            name, f"runs:/{run}/{folder}", run, {_DECLARATION: declaration}, description=description
        )
    except MlflowException as error:
        raise UserError(
            f"--register {name}: MLflow's registry does not take it ({error.error_code}); choose another name, without "
            "'/', ':' and quotes"
        ) from None
    return str(made.version)


def _make_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
