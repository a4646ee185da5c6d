"""The model card of an exported folder: what it is, how it is used, on what and how it was trained, and the terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sdl_study.record.trials import LENGTH
from sdl_study.report.cards import dataset
from sdl_study.report.export.source import Source
from sdl_study.report.names import LEAST_COUNT
from sdl_study.report.page.frames import StudyFrames

_HEADS = {
    "probe": "a linear probe on its embeddings (`probe.safetensors`)",
    "linear": "the linear head that it was fine-tuned with (`head.safetensors`)",
    "label_attention": "the label attention that it was fine-tuned with (`head.safetensors`)",
}
_GIVEN = {"text": "notes.csv --column text", "image": "photographs", "features": "rows.npy"}
_VALUES = {"text": '["a text"]', "image": '["photograph.jpg"]', "features": "rows"}
_RESTRICTED = (
    "**Restricted data.** This model was trained on data whose terms forbid giving them to others. Weights and "
    "tokenizer can repeat parts of them. It left its study by an explicit flag (`--allow-restricted`): whoever has it "
    "needs the same agreement as for the data, and it must not be published. Counts below "
    f"{LEAST_COUNT} are not told."
)
_OPEN = "The data are open by the word of whoever prepared them; their own terms hold for the weights too."


def card_text(source: Source, about: Mapping[str, Any]) -> str:
    """README.md of an exported folder, with the front matter that model hubs read.

    Args:
        source: what is exported.
        about: what export.json says of it.
    """
    study = StudyFrames(source.chosen.record)
    manifest = source.chosen.record.dataset.manifest if source.chosen.record.dataset is not None else {}
    modality = str(manifest.get("modality"))
    parts = [
        _front(modality, study.restricted),
        *_what(source, about),
        *([_RESTRICTED] if study.restricted else []),
        *_use(modality, about),
        *_data(study),
        *_metrics(source, about),
        *_training(source),
        "## Terms",
        f"{_RESTRICTED if study.restricted else _OPEN} `DATA_TERMS.md` says more.",
    ]
    return "\n\n".join(parts) + "\n"


def _front(modality: str, restricted: bool) -> str:
    tags = [
        "multi-label-classification",
        "contrastive-learning",
        modality,
        *(["restricted"] if restricted else []),
    ]
    lines = "\n".join(f"- {tag}" for tag in tags)
    return f"---\nlibrary_name: transformers\npipeline_tag: feature-extraction\ntags:\n{lines}\n---"


def _what(source: Source, about: Mapping[str, Any]) -> Iterator[str]:
    chosen = source.chosen
    yield f"# {chosen.reference}"
    final = f"the {chosen.slot.role} {chosen.name}" if chosen.trial is None else f"trial {chosen.name}"
    again = ", trained again from its record" if source.kept else ""
    yield (
        f"An encoder and {_HEADS[about['head']]} from {final}{again} of the study {chosen.record.files.name}: arm "
        f"{chosen.arm}, {source.result.examples_seen:,} training examples seen, best epoch "
        f"{source.result.best_epoch}."
    )


def _use(modality: str, about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Use"
    yield f"```bash\npython predict.py {_GIVEN[modality]}\n```"
    own = about["loader"] == "sdl_study"
    needs = "torch, transformers, safetensors and numpy" + (" and Pillow" if modality == "image" else "")
    needs += ", and SDL Study, whose class the encoder is" if own else "; nothing of SDL Study"
    yield f"It needs {needs}, and no network. In Python, in this folder:"
    yield f"```python\nfrom predict import Exported\nmodel = Exported()\nmodel.score({_VALUES[modality]})\n```"
    if not own:
        yield "The encoder alone is `AutoModel.from_pretrained` of this folder."
    else:
        yield "The encoder alone is `sdl_study.models.load_encoder` of this folder."
    if modality == "text":
        most = (
            f"{about['max_chunks']} chunks of {about['max_length']}"
            if about["max_chunks"] > 1
            else about["max_length"]
        )
        yield (
            f"States of tokens become an embedding by pooling: {about['pooling']}. A text is cut after {most} tokens, "
            "as many as the longest that the study read."
        )
    if about["projection_file"]:
        yield (
            "`projection.safetensors` is the projection head in whose space the contrastive loss was taken; scores do "
            "not use it."
        )


def _data(study: StudyFrames) -> Iterator[str]:
    yield "## Data"
    card = dataset.card(study)
    yield card.sentence
    if card.frame is not None:
        yield _table(card.frame.columns, card.frame.iter_rows())
    yield "\n".join(f"- {line}" for line in [*card.lines, str(card.note)])


def _metrics(source: Source, about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Metrics"
    yield f"A label is predicted where its score is above {about['threshold']:.4f}, chosen on dev."
    dev = {k: v for k, v in source.result.metrics.items() if k.startswith("dev/") and k != "dev/threshold"}
    test = {} if source.test is None else {f"test/{key}": value for key, value in source.test.items()}
    if source.test is None:
        yield "Test metrics were never measured: the test labels are opened for finals alone."
    yield _table(
        ("metric", "value"), ((name, f"{value:.4f}") for name, value in sorted((dev | test).items()))
    )


def _training(source: Source) -> Iterator[str]:
    chosen, record = source.chosen, source.chosen.record
    settings = record.identity["settings"]
    train, result = settings["train"], source.result
    seed = "the search's" if chosen.trial is not None else f"final seed {chosen.slot.seed_number}"
    batch = chosen.parameters.get("train.batch_size", train["batch_size"])
    epochs = chosen.parameters.get(LENGTH, train["epochs"])
    workers = "1 worker" if result.workers == 1 else f"{result.workers} workers"
    facts = [
        f"seed: {seed} of study seed {settings['seed']}",
        f"epochs {epochs}, global batch {batch}, {workers} on {result.device}",
        f"code version {record.identity.get('code_version', 'unknown')}",
        f"made again by `python -m sdl_study.run reproduce {chosen.reference}`",
    ]
    for found in record.environments[-1:]:
        packages = ", ".join(f"{name} {found['packages'].get(name)}" for name in ("torch", "transformers"))
        facts.insert(3, f"Python {found['python']}, {packages}")
    if record.declaration is not None:
        facts.insert(1, f"declaration {record.declaration.sha}")
    yield "## Training"
    yield _table(("parameter", "value"), sorted((k, str(v)) for k, v in chosen.parameters.items()))
    yield "\n".join(f"- {fact}" for fact in facts)


def _table(columns: Sequence[str], rows: Any) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")
