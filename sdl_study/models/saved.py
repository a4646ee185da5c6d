"""A backbone's weights as a saved encoder keeps them: safetensors, in Hugging Face's form where it has one."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from sdl_study.models.adapters import has_adapters, merged_state

WEIGHTS_FILE = "model.safetensors"


def save_backbone(backbone: nn.Module, folder: Path) -> None:
    """Write a backbone into a folder, with its configuration if it has one.

    Adapters are merged into its weights: what is written loads anywhere, and rounds anew in the last digit.
    """
    save = getattr(backbone, "save_pretrained", None)
    if save is None:
        from safetensors.torch import save_model

        save_model(backbone, str(folder / WEIGHTS_FILE))
        return
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # its lines would mix with the study's own
    if has_adapters(backbone):
        save(folder, state_dict=merged_state(backbone))
    else:
        save(folder)


def load_weights(backbone: nn.Module, folder: Path) -> None:
    """Fill in the weights that ``save_backbone`` wrote.

    Raises:
        ValueError, OSError, RuntimeError: they are not there, damaged, or another model's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(backbone, folder / WEIGHTS_FILE)
    except SafetensorError as error:
        raise ValueError(f"{WEIGHTS_FILE}: {error}") from error
