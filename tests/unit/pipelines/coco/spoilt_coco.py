"""MS-COCO's files and ways to spoil them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from PIL import Image

from pipelines import coco
from tests.unit.pipelines.raw import write_coco
from tests.unit.pipelines.spoilt import Source


class Coco(Source):
    command = staticmethod(coco.command)

    def make(self) -> None:
        images = [(i, f"{i:012d}.png") for i in range(1, 61)]
        self.train = write_coco(self.tmp / "train", images, [(i, 1) for i, _ in images])
        self.test = write_coco(self.tmp / "val", images[:3], [(i, 1) for i, _ in images[:3]])

    def arguments(self) -> list[str]:
        (train_images, train_file), (test_images, test_file) = self.train, self.test
        train = ["--train-images", str(train_images), "--train-annotations", str(train_file)]
        return [
            str(self.out),
            *train,
            "--test-images",
            str(test_images),
            "--test-annotations",
            str(test_file),
        ]

    def change(self, change: Callable[[dict[str, Any]], Any], side: int = 1) -> None:
        file = (self.train, self.test)[side][1]
        record = json.loads(file.read_text())
        change(record)
        file.write_text(json.dumps(record))

    def header_only(self) -> None:
        self.change(lambda record: record["images"].clear())
        self.change(lambda record: record["annotations"].clear())

    def missing_file(self) -> None:
        self.train[1].unlink()

    def missing_folder(self) -> None:
        self.test = (self.tmp / "nowhere", self.test[1])

    def missing_column(self) -> None:
        self.change(lambda record: record["annotations"][1].pop("category_id"))

    def missing_list(self) -> None:
        self.change(lambda record: record.pop("categories"))

    def cut_off(self) -> None:
        self.train[1].write_text(self.train[1].read_text()[:500])

    def bad_utf8(self) -> None:
        self.train[1].write_bytes(self.train[1].read_bytes().replace(b"toothbrush", b"tooth\xffbrush"))

    def duplicate_ids(self) -> None:
        self.change(lambda record: record["images"][2].update(id=1))

    def unknown_category(self) -> None:
        self.change(lambda record: record["annotations"][0].update(category_id=77))

    def annotation_for_a_missing_image(self) -> None:
        self.change(lambda record: record["annotations"][0].update(image_id=12345))

    def empty_split(self) -> None:
        self.change(lambda record: record["annotations"].clear())

    def image_file_is_missing(self) -> None:
        (self.train[0] / "000000000003.png").unlink()

    def corrupt_jpeg(self) -> None:
        file = self.train[0] / "000000000003.png"
        Image.effect_noise((200, 200), 90).convert("RGB").save(file, format="JPEG")
        file.write_bytes(file.read_bytes()[:3_000])
