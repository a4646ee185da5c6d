"""The catalogue: losses by name and by reference, their settings from their own signatures."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from sdl_study.losses import (
    CONTRASTIVE_LOSSES,
    AnyLoss,
    ContrastiveLoss,
    SupervisedLoss,
    WeightedContrastiveLoss,
    build_loss,
    find_loss,
    named,
    named_losses,
)
from sdl_study.testing import make_inputs, multi_hot_labels

OWN = """
from collections.abc import Mapping

import torch
from sdl_study.losses import AnyLoss, ContrastiveLoss, SimilarityDissimilarityLoss, SupervisedLoss, WeightRule

class Halving(WeightRule):
    def __init__(self, base: float = 0.5, **more):
        super().__init__(**more)
        if not base < 1:
            raise ValueError(f"base is {base!r}; it must be below 1")
        self.base = base

    def weight(self, intersection, anchor_size, candidate_size):
        return self.base ** (candidate_size - intersection)

class Plain(WeightRule):
    def weight(self, intersection, anchor_size, candidate_size):
        return torch.ones_like(intersection)

class Needy(Plain):
    def __init__(self, rate):
        super().__init__()

class Hot(Plain):
    def __init__(self, temperature=0.1):
        super().__init__()

class Unfinished(WeightRule):
    pass

class Sharper(SimilarityDissimilarityLoss):
    def __init__(self, sharpness: float = 2.0, **settings):
        super().__init__(**settings)
        self.sharpness = sharpness

class Fixed(AnyLoss):
    def __init__(self):
        super().__init__(0.5)

class Squared(SupervisedLoss):
    def __init__(self, power: int = 2):
        super().__init__()
        self.power = power

    def elementwise(self, logits, targets):
        return (logits.sigmoid() - targets) ** self.power

def factory():
    return AnyLoss()

instance = AnyLoss()
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A user's module outside the repository, as the first half of a reference."""
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path / 'own.py'}:"


def settings_of(reference: str) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in find_loss(reference).settings.items()}


def test_the_catalogue_is_its_files() -> None:
    files = sorted(path.stem for path in Path(str(named.__file__)).parent.glob("[!_]*.py"))
    assert list(named_losses()) == files
    assert {"all", "any", "asl", "bce", "mulsupcon", "sd"} <= set(files)


@pytest.mark.parametrize("name", named_losses())
def test_every_named_loss_is_built_and_trains(name: str) -> None:
    kind = find_loss(name)
    loss = kind.build({})
    assert isinstance(loss, ContrastiveLoss if kind.pretraining == "contrastive" else SupervisedLoss)
    assert kind.reference == name
    assert all(parameter.default is not parameter.empty for parameter in kind.settings.values())
    rows = make_inputs(8).requires_grad_()
    loss(rows, multi_hot_labels([8], rows.shape[1])).backward()
    assert rows.grad is not None
    assert float(rows.grad.norm()) > 0
    assert ("temperature" in kind.settings) == (kind.pretraining == "contrastive")
    assert not {"process_group", "distributed", "gradient_reduction", "cache_mib"} & set(kind.settings)


def test_a_file_is_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "newest.py").write_text(f"{OWN}\nLOSS = Halving\n")
    (tmp_path / "_helper.py").write_text("")
    monkeypatch.setattr(named, "__path__", [*named.__path__, str(tmp_path)])
    assert "newest" in named_losses()
    assert "_helper" not in named_losses()
    assert build_loss("newest", base=0.25, temperature=0.5).rule.base == 0.25


def test_settings_are_the_signatures() -> None:
    assert settings_of("any") == {"temperature": 0.07}
    assert settings_of("bce") == {}
    assert settings_of("asl") == {"gamma_negative": 4.0, "gamma_positive": 1.0, "clip": 0.05}
    assert settings_of("exponential") == {"temperature": 0.07, "rate": 1.0, "normalizer": "positives"}
    assert settings_of("sd") == {
        "temperature": 0.07,
        "similarity_power": 1.0,
        "dissimilarity_power": 1.0,
        "relation_weights": None,
        "normalizer": "positives",
    }
    assert isinstance(find_loss("sd").settings["temperature"], inspect.Parameter)


def test_settings_of_own_classes_are_their_signatures(own: str) -> None:
    assert settings_of(f"{own}Halving") == {"temperature": 0.07, "base": 0.5, "normalizer": "positives"}
    assert settings_of(f"{own}Plain") == {"temperature": 0.07, "normalizer": "positives"}
    assert settings_of(f"{own}Fixed") == {}
    assert settings_of(f"{own}Squared") == {"power": 2}
    sharper = settings_of(f"{own}Sharper")
    assert sharper == {"sharpness": 2.0, **settings_of("sd")}
    assert find_loss(f"{own}Squared").pretraining == "supervised"
    assert find_loss(f"{own}Fixed").pretraining == "contrastive"


def test_own_classes_are_built(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = find_loss(f"{own}Halving").build({"base": 0.25, "temperature": 0.3, "normalizer": "weights"})
    assert isinstance(made, WeightedContrastiveLoss)
    assert (made.temperature, vars(made.rule)) == (0.3, {"base": 0.25, "normalizer": "weights"})
    monkeypatch.syspath_prepend(str(Path(own[:-1]).parent))
    assert build_loss("own:Squared", power=4).power == 4
    assert build_loss(f"{own}Sharper", similarity_power=0.5, cache_mib=0).cache_mib == 0
    assert type(build_loss("sdl_study.losses:AnyLoss")) is AnyLoss


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "supcon",
            r"unknown loss 'supcon'; choose one of all, any, asl, .*, or name a class of your own as module:Cl",
        ),
        ("", "unknown loss ''"),
        ("SD", "unknown loss 'SD'"),
        ("_helper", "unknown loss '_helper'"),
        (
            "no_such_module:Rule",
            "'no_such_module:Rule': ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("no/such/file.py:Rule", "ModuleNotFoundError: there is no file"),
        ("sdl_study.losses:Nothing", "'sdl_study.losses:Nothing': sdl_study.losses has no 'Nothing'"),
        ("sdl_study.losses:", "write it as module:Name"),
        (":AnyLoss", "write it as module:Name"),
        ("math:sqrt", "is no class that derives from WeightRule, ContrastiveLoss or SupervisedLoss"),
        ("torch.nn:Linear", "is no class that derives"),
        ("sdl_study.losses:LabelSets", "is no class that derives"),
        ("sdl_study.losses:ContrastiveLoss", "cannot be made: it does not define positives"),
        ("sdl_study.losses:SupervisedLoss", "cannot be made: it does not define elementwise"),
        (None, "loss is None; give a name or module:Class"),
        (3, "loss is 3"),
        (AnyLoss, "give a name or module:Class"),
    ],
)
def test_what_is_no_loss_is_told_in_one_line(reference: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        find_loss(reference)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Unfinished", "cannot be made: it does not define weight"),
        ("factory", "is no class"),
        ("instance", "is no class"),
        ("Hot", "takes a temperature: that is the loss's"),
    ],
)
def test_own_objects_that_are_no_loss_are_told(own: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_loss(f"{own}{name}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_library\n", "No module named 'no_such_library'"),
        ("raise ValueError('two\\nlines')\n", "ValueError: two lines"),
        ("raise SystemExit(1)\n", "SystemExit"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_module_that_raises_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        find_loss(f"{tmp_path / 'bad.py'}:Rule")
    assert len(str(raised.value).splitlines()) == 1
    assert "bad.py:Rule" in str(raised.value)


def test_settings_that_a_loss_has_not_are_named(own: str) -> None:
    with pytest.raises(ValueError, match="loss 'any' has no setting 'similarity_power'; it has temperature"):
        find_loss("any").build({"similarity_power": 1})
    with pytest.raises(ValueError, match="loss 'bce' has no setting 'temperature'; it has none"):
        build_loss("bce", temperature=0.1)
    with pytest.raises(ValueError, match="has no setting 'rule'"):
        build_loss("any", rule=None)
    for of_the_run in ("process_group", "distributed", "gradient_reduction", "cache_mib"):
        with pytest.raises(ValueError, match=f"has no setting '{of_the_run}'"):
            find_loss("sd").build({of_the_run: None})
    with pytest.raises(ValueError, match="needs the setting 'rate', which has no default"):
        build_loss(f"{own}Needy", temperature=0.1)


def test_what_an_own_constructor_refuses_is_told(own: str) -> None:
    with pytest.raises(ValueError, match="base is 2; it must be below 1"):
        build_loss(f"{own}Halving", base=2)
    with pytest.raises(ValueError, match=r"Halving': '<' not supported between instances of 'str' and 'int'"):
        build_loss(f"{own}Halving", base="0.5")


def test_contrastive_losses_are_those_of_the_catalogue() -> None:
    contrastive = [name for name in named_losses() if find_loss(name).pretraining == "contrastive"]
    assert list(CONTRASTIVE_LOSSES) == contrastive
    for name, make in CONTRASTIVE_LOSSES.items():
        made = make(temperature=0.3, learnable_temperature=True)
        assert isinstance(made, ContrastiveLoss)
        assert made.temperature == pytest.approx(0.3)
        assert isinstance(made.log_temperature, torch.nn.Parameter), name
