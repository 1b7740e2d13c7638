"""The command line's way from what users sent to data to learn from: `hyperflow pick` and `hyperflow label`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hyperflow.cli.app import Debug, Volume, app, told, use_volume
from hyperflow.cli.models import DEFAULT, stored
from hyperflow.cli.show import console

Payloads = Annotated[Path, typer.Argument(help="Folder into which a predictor logs its payloads.")]
DataSet = Annotated[str, typer.Option(help="The data set that the model learnt from, on the volume.")]


@app.command()
def pick(
    payloads: Payloads,
    out: Annotated[Path, typer.Argument(help="Folder to make, with the pictures and labels.csv.")],
    most: Annotated[int, typer.Option(help="Most pictures.", min=1)] = 100,
    dataset: DataSet = DEFAULT,
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Write the pictures that users sent and the model was least sure of, for a person to label.

    labels.csv has a line for each, with the model's answer as its label: correct it, or leave the label empty where you
    do not know. The payloads are those of `log_payloads`.
    """
    from hyperflow.evaluation import labels

    with told(debug):
        use_volume(folder)
        count = labels.pick(payloads, out, stored(dataset), most)
        text = (
            f"{count} pictures, the least sure first: correct {out / labels.LABELS}, then give it to `hyperflow label`"
        )
        console.print(text, highlight=False, soft_wrap=True, markup=False)


@app.command()
def label(
    payloads: Payloads,
    labels: Annotated[Path, typer.Argument(help="CSV with the columns id, index and label.")],
    out: Annotated[Path, typer.Argument(help="The .npz to write, for data_source.")],
    dataset: DataSet = DEFAULT,
    alone: Annotated[
        bool, typer.Option("--alone", help="Write the labelled pictures alone, without the rest.")
    ] = False,
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Join pictures that users sent, and a person has labelled, with the data set, as a new one for `data_source`.

    A fifth of them becomes test images, always the same ones. What the data set has already is left out.
    """
    from hyperflow.evaluation.labels import collect

    with told(debug):
        use_volume(folder)
        known = stored(dataset)
        made = collect(payloads, labels, out, known, alone=alone)
        parts = (
            f"{made.train} labelled pictures" if alone else f"{made.train} to learn from and {made.test} to test with"
        )
        joined = "alone" if alone else f"added to {known.name} ({known.train_count} and {known.test_count})"
        text = f"{out}: {parts}, {joined}; {made.known} were there already, {made.skipped} have no label"
        console.print(text, highlight=False, soft_wrap=True, markup=False)
