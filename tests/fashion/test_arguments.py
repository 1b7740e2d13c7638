"""The trainer's command line: what is read, and what is refused by name."""

from __future__ import annotations

import pytest

from hyperflow.errors import InvalidParameter
from hyperflow.fashion import arguments, train
from hyperflow.fashion.arguments import Arguments


def test_both_forms_and_both_spellings_are_read() -> None:
    parsed = Arguments.parse(
        ["--data-path=/d", "--learning-rate", "1e-3", "--batch_size=64.0", "--model=mlp", "--model_path=/m/1"]
    )
    assert parsed == Arguments("/d", learning_rate=0.001, batch_size=64, model="mlp", model_path="/m/1")
    assert isinstance(parsed.batch_size, int)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("--epochs=0", "epochs"),
        ("--epochs=2.5", "epochs"),
        ("--epochs=", "epochs"),
        ("--epochs", "epochs"),
        ("--learning_rate=0", "learning_rate"),
        ("--learning_rate=-1", "learning_rate"),
        ("--learning_rate=nan", "learning_rate"),
        ("--learning_rate=inf", "learning_rate"),
        ("--learning_rate=fast", "learning_rate"),
        ("--dropout_rate=1", "dropout_rate"),
        ("--dropout_rate=-0.1", "dropout_rate"),
        ("--batch_size=0", "batch_size"),
        ("--batch_size=1e9", "batch_size"),
        ("--weight_decay=-1", "weight_decay"),
        ("--model=resnet", "model"),
        ("--preset=best", "preset"),
        ("--seed=-1", "seed"),
        ("--validation_fraction=0", "validation_fraction"),
        ("--validation_fraction=0.9", "validation_fraction"),
        ("--train_fraction=1.1", "train_fraction"),
        ("--train_fraction=0", "train_fraction"),
        ("--model-path=relative/1", "model-path"),
        ("--model-path=/models/latest", "model-path"),
        ("--data-path=", "data-path"),
        ("--optimizer=sgd", "--optimizer"),
        ("epochs=1", "epochs"),
    ],
)
def test_what_cannot_work_is_refused_by_name(word: str, name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Arguments.parse(["--data-path=/d", word])
    assert caught.value.name == name
    assert caught.value.allowed


def test_a_preset_gives_way_to_what_is_given() -> None:
    accurate = Arguments.parse(["--data-path=/d", "--preset=accurate", "--epochs=3"])
    assert (accurate.model, accurate.epochs, accurate.batch_size) == ("cnn-large", 3, 256)
    small = Arguments.parse(["--data-path=/d", "--preset=accurate", "--model=cnn"])
    assert (small.batch_size, small.epochs) == (Arguments("/d").batch_size, 28)
    assert Arguments.parse(["--data-path=/d", "--preset=fast"]).epochs < Arguments("/d").epochs


@pytest.mark.parametrize("preset", arguments.DESCRIPTION.arguments["preset"]["enum"])
def test_each_preset_is_of_arguments_that_exist(preset: str) -> None:
    for name, value in arguments.DESCRIPTION.presets[preset].items():
        arguments.DESCRIPTION.judge(name, name, value)
    assert Arguments.parse(["--data-path=/d", f"--preset={preset}"]).preset == preset


def test_the_data_path_is_needed() -> None:
    with pytest.raises(InvalidParameter, match="data-path"):
        Arguments.parse([])


def test_a_fingerprint_is_of_what_is_trained_not_of_where() -> None:
    one = Arguments("/d", model_path="/m/1").fingerprint("data", "1.0")
    assert Arguments("/elsewhere", model_path="/n/1").fingerprint("data", "1.0") == one
    others = [
        Arguments("/d", seed=1).fingerprint("data", "1.0"),
        Arguments("/d", learning_rate=0.1).fingerprint("data", "1.0"),
        Arguments("/d").fingerprint("other data", "1.0"),
        Arguments("/d").fingerprint("data", "1.1"),
    ]
    assert len({one, *others}) == 5


def test_schema_describes_every_argument_with_the_defaults_that_are_used() -> None:
    described = {name: entry["default"] for name, entry in arguments.DESCRIPTION.arguments.items()}
    made = arguments.Arguments(data_path="/data")
    assert described == {name: value for name, value in vars(made).items() if not name.endswith("_path")}


def test_help_has_every_argument_and_what_it_may_be() -> None:
    usage = arguments.usage()
    assert "--learning_rate (default 0.005)" in usage
    assert "It is a number above 0, up to 100." in usage
    assert "It is cnn, cnn-large or mlp." in usage


@pytest.mark.parametrize("word", ["--help", "--describe"])
def test_program_tells_every_argument_and_trains_nothing(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main([word]) == 0
    told = capsys.readouterr().out
    for name, entry in arguments.DESCRIPTION.arguments.items():
        assert name in told
        assert str(entry["default"]) in told
