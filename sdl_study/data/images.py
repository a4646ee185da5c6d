"""Image store: every image decoded and resized once per size, memory-mapped, shared by all trials."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from sdl_study.data.cache import (
    build_once,
    check_at_least,
    check_choice,
    check_type,
    parse_settings,
    store_key,
)
from sdl_study.data.disk import write_array
from sdl_study.data.image_files import BrokenImageError, image_digest, opened, rgb
from sdl_study.errors import UserError
from sdl_study.files import write_json
from sdl_study.input_spec import INPUTS_FILE, InputSpec

if TYPE_CHECKING:
    from jaxtyping import Float, Int64, UInt8
    from PIL import Image

    from sdl_study.data.prepared import PreparedData

_VERSION = 2
_BATCH = 256
_THREADS = 4
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class ImageSettings:
    """How image files become pixels.

    Args:
        image_size: side in pixels.
        resize: "squash" scales both sides to the size (usual for MS-COCO's labels: nothing is cut off),
            "crop" cuts out a square at the centre and scales that.
        crop_pct: side of that square as a share of the image's shorter side.
        interpolation: how pixels are made when an image is scaled; always with a low-pass filter.
        mean, std: per channel, of values in [0, 1]; ImageNet's by default.
    """

    image_size: int = 224
    resize: Literal["squash", "crop"] = "squash"
    crop_pct: float = 1.0
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD

    def __post_init__(self) -> None:
        check_at_least("image_size", self.image_size, 8)
        check_choice("resize", self.resize, ("squash", "crop"))
        check_choice("interpolation", self.interpolation, _INTERPOLATIONS)
        check_type("crop_pct", self.crop_pct, (int, float))
        if not 0 < self.crop_pct <= 1:
            raise UserError(f"data.store.crop_pct: {self.crop_pct} is no share above 0 and up to 1")
        if self.crop_pct < 1 and self.resize != "crop":
            raise UserError("data.store.crop_pct: counts only with resize crop; set data.store.resize=crop")
        for name in ("mean", "std"):
            values = getattr(self, name)
            check_type(name, values, tuple)
            if len(values) != 3:
                raise UserError(f"data.store.{name}: three numbers are needed, one per channel")
            for value in values:
                check_type(name, value, (int, float))
        if min(self.std) <= 0:
            raise UserError("data.store.std: must be above 0")


class ImageStore:
    """Pixels of every example as bytes, memory-mapped; normalised when fetched."""

    def __init__(self, path: Path) -> None:
        record = json.loads((path / "store.json").read_text())
        self._settings = settings = parse_settings(ImageSettings, record["settings"])
        self.path = path
        self.spec = InputSpec.image(channels=3, image_size=settings.image_size)
        self._pixels = np.load(path / "pixels.npy", mmap_mode="r")
        mean, std = torch.tensor(settings.mean), torch.tensor(settings.std)
        self._scale = (1 / (255 * std)).view(3, 1, 1)
        self._shift = (-mean / std).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self._pixels)

    def fetch(self, rows: Int64[np.ndarray, " n"]) -> dict[str, torch.Tensor]:
        """pixel_values of the examples ``rows``, float32 [n, 3, image_size, image_size], normalised."""
        pixels = self.pixels(rows)
        return {
            "pixel_values": self.normalise(pixels.to(torch.float32, memory_format=torch.contiguous_format))
        }

    def pixels(self, rows: Int64[np.ndarray, " n"]) -> UInt8[torch.Tensor, "n 3 side side"]:
        """The images of the examples ``rows`` as they are stored, for an augmentation before the normalisation."""
        pixels = torch.from_numpy(self._pixels[np.asarray(rows, dtype=np.int64)])
        return pixels.permute(0, 3, 1, 2)

    def normalise(self, values: Float[torch.Tensor, "n 3 side side"]) -> Float[torch.Tensor, "n 3 side side"]:
        """Values in [0, 255] made those that the encoder reads, in place."""
        scale, shift = self._scale.to(values.device), self._shift.to(values.device)
        return values.mul_(scale).add_(shift)

    def save_processor(self, folder: Path) -> None:
        """Write the image processor that makes such pixels into the folder of an encoder that reads them.

        ``inputs.json`` says what the store does, which for cut images the processor does nearly.
        """
        write_json(folder / "preprocessor_config.json", _processor(self._settings))
        write_json(folder / INPUTS_FILE, {"modality": "image", **asdict(self._settings)})


def open_image_store(
    prepared: PreparedData, settings: Mapping[str, Any] | ImageSettings, cache_dir: Path
) -> ImageStore:
    """The image store of ``prepared`` for these settings, built under ``cache_dir`` if it is not there.

    Raises:
        UserError: unknown or unusable setting, missing, broken or changed images, a folder that cannot be written.
    """
    if not isinstance(settings, ImageSettings):
        settings = parse_settings(ImageSettings, settings)
    key = store_key("images", prepared.manifest.fingerprint, settings, _VERSION)
    return ImageStore(build_once(Path(cache_dir), key, lambda folder: _build(folder, prepared, settings)))


def _build(folder: Path, prepared: PreparedData, settings: ImageSettings) -> None:
    shape = (prepared.manifest.num_examples, settings.image_size, settings.image_size, 3)
    write_array(folder / "pixels.npy", shape, np.uint8, _pixels(prepared, settings))
    record = {"settings": asdict(settings)}
    (folder / "store.json").write_text(json.dumps(record, indent=2) + "\n")


def _pixels(prepared: PreparedData, settings: ImageSettings) -> Iterator[np.ndarray]:
    """Pixels of every example in order, uint8 [1, image_size, image_size, 3]; a batch of files at a time."""
    files, digests = prepared.image_files(), prepared.image_digests()
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(files), _BATCH):
            batch = slice(start, start + _BATCH)
            yield from pool.map(partial(_read, settings=settings), files[batch], digests[batch])


def _read(file: Path, digest: str, settings: ImageSettings) -> np.ndarray:
    """Pixels of one image, from the bytes that its digest was compared with: the file is read once.

    Raises:
        UserError: missing or broken, or other bytes than the ones that were prepared.
    """
    try:
        content = file.read_bytes()
        if image_digest(content) != digest:
            raise UserError(f"{file}: changed since it was prepared; prepare the data again")
        with opened(content) as image:
            return np.asarray(_fit(rgb(image), settings))[np.newaxis]
    except OSError as error:
        raise UserError(f"{file}: image cannot be read ({type(error).__name__})") from None
    except BrokenImageError as error:
        raise UserError(f"{file}: image cannot be read ({error})") from None


def _fit(image: Image.Image, settings: ImageSettings) -> Image.Image:
    size = settings.image_size
    box = (0.0, 0.0, float(image.width), float(image.height))
    if settings.resize == "crop":
        side = min(image.size) * settings.crop_pct
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
    if image.size == (size, size) and box == (0, 0, size, size):
        return image
    return image.resize((size, size), _interpolation(settings), box=box)


def _interpolation(settings: ImageSettings) -> Image.Resampling:
    from PIL import Image

    return Image.Resampling[settings.interpolation.upper()]


def _processor(settings: ImageSettings) -> dict[str, Any]:
    """An image processor of transformers that does the same.

    Squashed images come out the same to the last digit. Cut ones are scaled before they are cut there and after it
    here: they lie up to half a pixel apart.
    """
    size = {"height": settings.image_size, "width": settings.image_size}
    if settings.resize == "squash":
        fit: dict[str, Any] = {"image_processor_type": "ViTImageProcessor", "size": size}
    else:
        fit = {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": round(settings.image_size / settings.crop_pct)},
            "do_center_crop": True,
            "crop_size": size,
        }
    return fit | {
        "do_convert_rgb": True,
        "do_resize": True,
        "resample": int(_interpolation(settings)),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(settings.mean),
        "image_std": list(settings.std),
    }
