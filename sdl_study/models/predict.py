"""Scores new texts, images or rows of numbers with the exported model in whose folder this file lies.

    python predict.py notes.csv --column text
    python predict.py photographs --npz scores.npz

One line of JSON per input: its labels, those above the threshold, and the best scores. It needs torch, transformers,
safetensors and numpy, for images Pillow, and no network. Where export.json says ``"loader": "sdl_study"`` the encoder's
class is one of SDL Study's, which has to be importable.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

_IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class Exported:
    """An encoder with the probe, or the head that it was fine-tuned with.

    Args:
        folder: the exported one.
        device: on which it computes.
    """

    def __init__(self, folder: str | Path = Path(__file__).parent, device: str = "cpu") -> None:
        self.folder, self.device = Path(folder), torch.device(device)
        self.about, self.inputs = self._read("export.json"), self._read("inputs.json")
        self.labels: list[str] = [label["code"] for label in self._read("labels.json")]
        self.threshold: float = self.about["threshold"]
        self.modality: str = self.inputs["modality"]
        self._pooling: str = self.about["pooling"]
        self._model = self._load_model().to(self.device).eval()
        head = load_file(self.folder / self.about["head_file"])
        self._head = {name: values.to(self.device) for name, values in head.items()}
        self._tokenizer = self._load_tokenizer() if self.modality == "text" else None

    def _read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def _load_model(self) -> Any:
        if self.about["loader"] == "sdl_study":
            try:
                from sdl_study.models import load_encoder
            except ImportError:
                sys.exit(
                    "error: this encoder's class is SDL Study's; start this where sdl_study can be imported"
                )
            return load_encoder(self.folder).backbone
        from transformers import AutoModel
        from transformers.utils.logging import disable_progress_bar, set_verbosity_error

        set_verbosity_error()
        disable_progress_bar()
        return AutoModel.from_pretrained(self.folder, local_files_only=True, dtype=torch.float32)

    def _load_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        backend = tokenizer.backend_tokenizer
        backend.no_padding()
        backend.enable_truncation(self.inputs["max_length"], stride=0)
        return backend

    def score(self, values: Sequence[Any] | np.ndarray, batch_size: int = 32) -> np.ndarray:
        """Probabilities [n, L] of texts, of images (files or PIL's own) or of rows of numbers, in their order."""
        return self.score_and_embed(values, batch_size)[0]

    def embed(self, values: Sequence[Any] | np.ndarray, batch_size: int = 32) -> np.ndarray:
        """Embeddings [n, width], as ``score``."""
        return self.score_and_embed(values, batch_size)[1]

    @torch.no_grad()
    def score_and_embed(
        self, values: Sequence[Any] | np.ndarray, batch_size: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [n, L] and embeddings [n, width]."""
        if not len(values):
            raise ValueError("there is nothing to score")
        half = self.about["precision"] == "bf16"
        scores, embeddings = [], []
        for start in range(0, len(values), batch_size):
            batch = values[start : start + batch_size]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                states, mask = self._states(batch)
                pooled = self._pooled(states, mask)
                logits = None if self.about["head"] == "probe" else self._logits(states, mask, pooled)
            pooled = pooled.float()
            found = self._probed(pooled) if logits is None else logits.float()
            scores.append(torch.sigmoid(found).cpu().numpy())
            embeddings.append(pooled.cpu().numpy())
        return np.concatenate(scores), np.concatenate(embeddings)

    def _states(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        """What the encoder makes of some inputs: states of tokens [n, t, width] and which are no padding, a feature map
        [n, width, h, w], or vectors [n, width]."""
        if self.modality == "text":
            return self._text_states([str(text) for text in batch])
        if self.modality == "image":
            pixels = torch.stack([_pixels(image, self.inputs) for image in batch])
            hidden = self._run("last_hidden_state", pixel_values=pixels)
            return hidden, hidden.new_ones(hidden.shape[:2], dtype=torch.long) if hidden.ndim == 3 else None
        mean, scale = (np.asarray(self.inputs[name]) for name in ("mean", "scale"))
        rows = (np.asarray(batch) - mean) / scale
        return self._run("pooler_output", features=torch.from_numpy(rows.astype(np.float32))), None

    def _run(self, field: str, **inputs: Tensor) -> Tensor:
        output = self._model(**{name: values.to(self.device) for name, values in inputs.items()})
        return output if isinstance(output, torch.Tensor) else getattr(output, field)

    def _text_states(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """States of all tokens of texts, the chunks of a long text in a row."""
        assert self._tokenizer is not None
        chunks = [
            [encoding.ids, *(more.ids for more in encoding.overflowing)][: self.inputs["max_chunks"]]
            for encoding in self._tokenizer.encode_batch(texts)
        ]
        rows = [torch.tensor(ids) for of_text in chunks for ids in of_text]
        ids = torch.nn.utils.rnn.pad_sequence(rows, True, float(self.inputs["pad_token_id"])).long()
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], True).long()
        hidden = self._run("last_hidden_state", input_ids=ids, attention_mask=mask)
        mask = mask.to(hidden.device)
        most = max(map(len, chunks))
        if most == 1:
            return hidden, mask
        text = torch.tensor([number for number, of_text in enumerate(chunks) for _ in of_text])
        place = torch.tensor([number for of_text in chunks for number in range(len(of_text))])
        states = hidden.new_zeros(len(texts), most, *hidden.shape[1:])
        kept = mask.new_zeros(len(texts), most, mask.shape[1])
        states[text, place], kept[text, place] = hidden, mask
        return states.flatten(1, 2), kept.flatten(1)

    def _pooled(self, states: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return states.mean(dim=(2, 3)) if states.ndim == 4 else states
        kept = mask.to(states.dtype)
        if self._pooling == "mean":
            return (states * kept.unsqueeze(-1)).sum(1) / kept.sum(1, keepdim=True).clamp(min=1.0)
        places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
        last = self._pooling == "last"
        absent = places.new_full((), -1 if last else mask.shape[1])
        found = torch.where(mask.bool(), places, absent)
        chosen = found.amax(1) if last else found.amin(1)
        return (states * (places == chosen.unsqueeze(1)).to(states.dtype).unsqueeze(-1)).sum(1)

    def _probed(self, pooled: Tensor) -> Tensor:
        """Logits of the linear probe on scaled embeddings."""
        probe = self._head
        if bool(probe["unit_length"]):
            pooled = torch.nn.functional.normalize(pooled, dim=1)
        return torch.addmm(probe["bias"], (pooled - probe["mean"]) / probe["scale"], probe["weight"])

    def _logits(self, states: Tensor, mask: Tensor | None, pooled: Tensor) -> Tensor:
        """Logits of the head that was fine-tuned: linear on the embedding, or attending to tokens label by label."""
        head, linear = self._head, torch.nn.functional.linear
        if self.about["head"] == "linear":
            return linear(pooled, head["linear.weight"], head["linear.bias"])
        assert mask is not None
        keys, kept = torch.tanh(linear(states, head["project.weight"])), mask.bool().unsqueeze(-1)
        attention = linear(keys, head["attend.weight"]).float()
        attention = attention.masked_fill(~kept, torch.finfo(torch.float32).min).softmax(dim=1) * kept
        decided = linear(states, head["decide.weight"])
        return (attention * decided).sum(dim=1) + head["decide.bias"]


def _pixels(image: Any, how: dict[str, Any]) -> Tensor:
    """An image, by its file or as Pillow's own, as the encoder reads it: float32 [3, side, side]."""
    from PIL import Image

    if not isinstance(image, Image.Image):
        with Image.open(image) as opened:
            return _pixels(opened, how)
    if image.mode.startswith("I;16"):  # Pillow's own conversion would cut 16 bits off at 255
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    image, side = image.convert("RGB"), how["image_size"]
    box = (0.0, 0.0, float(image.width), float(image.height))
    if how["resize"] == "crop":
        kept = min(image.size) * how["crop_pct"]
        left, top = (image.width - kept) / 2, (image.height - kept) / 2
        box = (left, top, left + kept, top + kept)
    if image.size != (side, side) or box != (0, 0, side, side):
        image = image.resize((side, side), Image.Resampling[how["interpolation"].upper()], box=box)
    mean, std = torch.tensor(how["mean"]), torch.tensor(how["std"])
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(torch.float32)
    return pixels.mul_((1 / (255 * std)).view(3, 1, 1)).add_((-mean / std).view(3, 1, 1))


def read_inputs(path: Path, modality: str, column: str) -> tuple[list[str], Any]:
    """Names and values of the inputs in a file or folder."""
    kind = path.suffix.lower()
    if modality == "image":
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in _IMAGES) if path.is_dir() else [path]
        return [str(file.relative_to(path)) if path.is_dir() else file.name for file in files], files
    if modality == "features":
        rows = np.load(path) if kind == ".npy" else np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
        return [str(number) for number in range(len(rows))], rows
    if kind not in (".csv", ".tsv", ".jsonl"):
        sys.exit(f"error: {path}: give texts as .csv, .tsv or .jsonl")
    with path.open(encoding="utf-8", newline="") as file:
        try:
            texts = [record[column] for record in _records(file, kind)]
        except KeyError:
            sys.exit(f"error: {path}: has no column {column!r}; name it with --column")
    return [str(number) for number in range(len(texts))], texts


def _records(file: Any, kind: str) -> Iterator[dict[str, Any]]:
    if kind == ".jsonl":
        return (json.loads(line) for line in file if line.strip())
    csv.field_size_limit(1 << 30)
    return csv.DictReader(file, delimiter="\t" if kind == ".tsv" else ",")


def main() -> None:
    """Score a file or folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "path", type=Path, help="texts (.csv, .tsv, .jsonl), images (a folder) or rows (.npy, .csv)"
    )
    parser.add_argument("--column", default="text", help="column of the texts (default: text)")
    parser.add_argument("--top", type=int, default=5, help="how many of the best scores are printed")
    parser.add_argument(
        "--npz", type=Path, help="also write scores and embeddings of all inputs to this file"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    given = parser.parse_args()
    if not given.path.exists():
        sys.exit(f"error: {given.path}: is not there")
    model = Exported(device=given.device)
    names, values = read_inputs(given.path, model.modality, given.column)
    if not names:
        sys.exit(f"error: {given.path}: holds nothing to score")
    scores, embeddings = model.score_and_embed(values)
    for name, own in zip(names, scores, strict=True):
        best = np.argsort(-own, kind="stable")[: given.top]
        found = [model.labels[label] for label in np.flatnonzero(own.astype(np.float64) > model.threshold)]
        top = {model.labels[label]: round(float(own[label]), 4) for label in best}
        print(json.dumps({"input": name, "labels": found, "scores": top}, ensure_ascii=False))
    if given.npz is not None:
        np.savez(
            given.npz,
            names=np.array(names),
            labels=np.array(model.labels),
            scores=scores,
            embeddings=embeddings,
        )


if __name__ == "__main__":
    main()
