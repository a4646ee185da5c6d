"""What our own backbones share: torch's own initialisation, and a name by which transformers finds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel


class OwnModel(PreTrainedModel):
    """Layers keep torch's own initialisation (an embedding's entries are of unit variance)."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()


@contextmanager
def quiet() -> Iterator[None]:
    """transformers neither reports nor shows its progress: its lines would mix with the study's own."""
    from transformers.utils import logging

    verbosity, shows = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shows:
            logging.enable_progress_bar()


def register(config: type[PreTrainedConfig], model: type[PreTrainedModel]) -> None:
    """Let ``AutoConfig`` and ``AutoModel`` know a model type of ours."""
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModel.register(config, model, exist_ok=True)


def register_all() -> None:
    """Import every file of this folder, each of which registers its model type."""
    package = __name__.rpartition(".")[0]
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        import_module(f"{package}.{path.stem}")
