"""COCO's rules, and what is said about images that cannot be read."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.coco import command, prepare
from pipelines.coco.annotations import read_annotations
from pipelines.shared.splits import hash_split
from sdl_study.data.prepared import Manifest, PreparedData
from sdl_study.errors import UserError
from tests.unit.pipelines.raw import documents, write_coco

TRAIN = [(number, f"{number:012d}.png") for number in range(1, 61)]
TEST = [(7, "000000000007.png"), (8, "000000000008.png")]


def two_sides(tmp: Path, train: list[tuple[int, int]], test: list[tuple[int, int]], **other: Any) -> Any:
    return (
        write_coco(tmp / "train2017", TRAIN, train, **other),
        write_coco(tmp / "val2017", TEST, test, **other),
    )


def run(tmp: Path, sides: Any, **options: Any) -> Manifest:
    return prepare(tmp / "out", *sides, progress=lambda line: None, **options)


ALL_LABELLED = [(number, 1) for number, _ in TRAIN]


def test_holes_in_category_ids_are_closed_in_order_of_the_id(tmp_path: Path) -> None:
    sides = two_sides(tmp_path, [*ALL_LABELLED, (5, 90), (5, 3)], [(7, 90), (8, 1)])
    run(tmp_path, sides)
    prepared = PreparedData.load(tmp_path / "out")
    assert prepared.label_codes == ["1", "3", "90"]
    assert prepared.label_names == ["person", "car", "toothbrush"]
    assert documents(tmp_path / "out")["train/5"][1] == {"1", "3", "90"}
    assert documents(tmp_path / "out")["test/7"][:2] == ("test", {"90"})


def test_crowds_and_several_boxes_of_a_category_count_once(tmp_path: Path) -> None:
    sides = two_sides(tmp_path, [*ALL_LABELLED, (5, 1), (5, 1)], [(7, 1), (8, 1)], crowd=True)
    manifest = run(tmp_path, sides)
    assert manifest.counts["train"].mean_labels == 1


def test_images_without_annotation_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    sides = two_sides(tmp_path, ALL_LABELLED[:50], [(7, 1)])
    assert run(tmp_path, sides).num_examples == 51
    (tmp_path / "out").rename(tmp_path / "without")
    manifest = run(tmp_path, sides, keep_unlabelled=True)
    assert manifest.num_examples == 62
    assert documents(tmp_path / "out")["test/8"][1] == set()
    assert manifest.counts["test"].without_labels == 1


def test_dev_is_held_out_of_train_by_the_file_name(tmp_path: Path) -> None:
    run(tmp_path, two_sides(tmp_path, ALL_LABELLED, [(7, 1), (8, 1)]))
    shares = {"train": 0.9, "dev": 0.1}
    for split, _, image in documents(tmp_path / "out").values():
        side, _, name = image.partition("/")
        assert split == ("test" if side == "test" else hash_split(name, shares))


def test_images_are_found_again_and_the_folder_can_move(tmp_path: Path) -> None:
    home = tmp_path / "home"
    prepare(
        home / "prepared" / "coco",
        *two_sides(home / "raw", ALL_LABELLED, [(7, 1), (8, 1)]),
        progress=lambda line: None,
    )
    home.rename(tmp_path / "moved")
    prepared = PreparedData.load(tmp_path / "moved" / "prepared" / "coco")
    files = prepared.image_files(prepared.rows("test"))
    assert [file.name for file in files] == [name for _, name in TEST]
    assert np.asarray(Image.open(files[0])).shape == (6, 8, 3)


def test_unreadable_images_are_named_together_with_the_reason(tmp_path: Path) -> None:
    sides = two_sides(tmp_path, ALL_LABELLED, [(7, 1), (8, 1)])
    (tmp_path / "train2017" / TRAIN[3][1]).unlink()
    (tmp_path / "val2017" / TEST[0][1]).write_bytes(b"not an image")
    cut = tmp_path / "train2017" / TRAIN[9][1]
    Image.effect_noise((64, 64), 90).convert("RGB").save(cut)
    cut.write_bytes(cut.read_bytes()[:2_000])
    with pytest.raises(UserError) as caught:
        run(tmp_path, sides)
    line = str(caught.value)
    assert line.startswith("3 images cannot be read: ")
    assert f"{TRAIN[3][1]} (file is missing)" in line
    assert f"{TEST[0][1]} (not an image)" in line
    assert f"{TRAIN[9][1]} (damaged" in line
    assert not (tmp_path / "out").exists()


def test_truncated_jpeg_is_found_without_decoding_it_at_full_size(tmp_path: Path) -> None:
    sides = two_sides(tmp_path, ALL_LABELLED, [(7, 1), (8, 1)])
    rng = np.random.default_rng(0)
    broken = tmp_path / "train2017" / TRAIN[0][1]
    Image.fromarray(rng.integers(0, 255, (200, 200, 3), dtype=np.uint8)).save(broken, format="JPEG")
    run(tmp_path, sides)
    (tmp_path / "out").rename(tmp_path / "good")
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(UserError, match=rf"1 images cannot be read: .*{TRAIN[0][1]} \(damaged"):
        run(tmp_path, sides)


def test_categories_of_both_sides_must_agree(tmp_path: Path) -> None:
    train = write_coco(tmp_path / "train2017", TRAIN, ALL_LABELLED)
    test = write_coco(
        tmp_path / "val2017", TEST, [(7, 1)], categories=[(1, "person"), (3, "bus"), (90, "toothbrush")]
    )
    with pytest.raises(UserError, match="category 3 is 'bus' here and 'car'"):
        run(tmp_path, (train, test))


def test_a_file_name_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    train, test = two_sides(tmp_path, ALL_LABELLED, [(7, 1), (8, 1)])
    record = json.loads(test[1].read_text())
    record["images"][0]["file_name"] = "../train2017/" + TRAIN[0][1]
    test[1].write_text(json.dumps(record))
    with pytest.raises(UserError, match="leads outside"):
        run(tmp_path, (train, test))


def test_the_pixels_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    sides = two_sides(tmp_path, ALL_LABELLED, [(7, 1), (8, 1)])
    first = run(tmp_path, sides).fingerprint
    (tmp_path / "out").rename(tmp_path / "first")
    Image.new("RGB", (8, 6), (1, 2, 3)).save(tmp_path / "train2017" / TRAIN[0][1])
    assert run(tmp_path, sides).fingerprint != first


def test_changed_images_are_another_input(tmp_path: Path) -> None:
    sides = two_sides(tmp_path, ALL_LABELLED, [(7, 1), (8, 1)])
    first = run(tmp_path, sides)
    assert run(tmp_path, sides) == first
    Image.new("RGB", (8, 6), (1, 2, 3)).save(tmp_path / "train2017" / TRAIN[0][1])
    with pytest.raises(UserError, match="was prepared with other arguments or input files"):
        run(tmp_path, sides)


def test_an_image_that_vanished_is_another_input(tmp_path: Path) -> None:
    sides = two_sides(tmp_path, ALL_LABELLED, [(7, 1), (8, 1)])
    run(tmp_path, sides)
    (tmp_path / "train2017" / TRAIN[0][1]).unlink()
    with pytest.raises(UserError, match="was prepared with other arguments or input files"):
        run(tmp_path, sides)


def test_images_are_one_record_of_the_preparation(tmp_path: Path) -> None:
    sides = two_sides(tmp_path, ALL_LABELLED, [(7, 1), (8, 1)])
    run(tmp_path, sides)
    record = json.loads((tmp_path / "out" / "preparation.json").read_text())
    stats = [f.stat() for side in ("train2017", "val2017") for f in (tmp_path / side).iterdir()]
    assert record["images"] == {
        "count": 62,
        "bytes": sum(stat.st_size for stat in stats),
        "newest": max(stat.st_mtime_ns for stat in stats),
    }


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    train, test = two_sides(tmp_path, ALL_LABELLED, [(7, 1), (8, 1)])
    test[1].write_bytes(b"\xef\xbb\xbf" + test[1].read_bytes())
    assert run(tmp_path, (train, test)).num_examples == 62


def test_outlines_are_dropped_while_the_file_is_parsed(tmp_path: Path) -> None:
    (_, file), _ = two_sides(tmp_path, ALL_LABELLED, [(7, 1)])
    record = json.loads(file.read_text())
    for entry in record["annotations"]:
        entry["segmentation"] = [[i / 8 for i in range(2_000)]]
    file.write_text(json.dumps(record))
    tracemalloc.start()
    annotations = read_annotations(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert annotations.labels == {number: {1} for number, _ in TRAIN}
    assert peak < 3 * file.stat().st_size, (peak, file.stat().st_size)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("[" * 100_000, "RecursionError"), ('{"images": [' + "1" * 5_000 + "]}", "ValueError")],
)
def test_json_that_python_refuses_is_one_line(tmp_path: Path, text: str, reason: str) -> None:
    train, test = two_sides(tmp_path, ALL_LABELLED, [(7, 1)])
    test[1].write_text(text)
    with pytest.raises(UserError, match=rf"val2017\.json: not in COCO's layout \({reason}\)"):
        run(tmp_path, (train, test))


def test_half_a_surrogate_pair_is_no_file_name(tmp_path: Path) -> None:
    train, test = two_sides(tmp_path, ALL_LABELLED, [(7, 1)])
    test[1].write_text(test[1].read_text().replace(TEST[1][1], "\\ud800.png"))
    with pytest.raises(UserError, match=r"val2017\.json, images\[1\], field file_name: not Unicode"):
        run(tmp_path, (train, test))


def test_an_annotation_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = two_sides(tmp_path, ALL_LABELLED, [(7, 1)])

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"train2017\.json: cannot be read: Permission denied$"):
        run(tmp_path, sides)


@pytest.mark.parametrize("content", [b"{", b"\xff", b""])
def test_a_damaged_record_of_the_preparation_is_one_line(tmp_path: Path, content: bytes) -> None:
    sides = two_sides(tmp_path, ALL_LABELLED, [(7, 1), (8, 1)])
    run(tmp_path, sides)
    (tmp_path / "out" / "preparation.json").write_bytes(content)
    with pytest.raises(
        UserError, match=r"preparation\.json: damaged: not JSON; remove .*/out or name another"
    ):
        run(tmp_path, sides)


def test_the_same_image_in_train_and_test_is_counted(tmp_path: Path) -> None:
    sides = two_sides(tmp_path, ALL_LABELLED, [(7, 1), (8, 1)])
    manifest = run(tmp_path, sides)
    # Images 7 and 8 of both sides have the same pixels, made by the helper from the image's number.
    splits = {
        split
        for split, _, image in documents(tmp_path / "out").values()
        if image.endswith(("7.png", "8.png"))
    }
    assert "test" in splits
    assert (
        manifest.leakage["duplicate_inputs"]["train-test"] + manifest.leakage["duplicate_inputs"]["dev-test"]
        == 2
    )


def test_images_of_ones_own_may_be_restricted(tmp_path: Path) -> None:
    (train_images, train_file), (test_images, test_file) = two_sides(tmp_path, ALL_LABELLED, [(7, 1), (8, 1)])
    command(
        [
            str(tmp_path / "out"), "--train-images", str(train_images), "--train-annotations", str(train_file),
            "--test-images", str(test_images), "--test-annotations", str(test_file), "--terms", "restricted",
        ]
    )  # fmt: skip
    assert PreparedData.load(tmp_path / "out").manifest.terms == "restricted"
