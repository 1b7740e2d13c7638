"""The page's parts as HTML; whatever comes from elsewhere is escaped."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import jinja2

from hyperflow.demo.gallery import Gallery, Selection
from hyperflow.demo.pictures import Form, Pixels, to_data_url
from hyperflow.demo.predictor import Metadata, Probabilities
from hyperflow.errors import HyperflowError, JobFailed, JobTimeout

_ASSETS = Path(__file__).with_name("assets")
_AGAIN = "Try again in a moment. The operator finds the cause in the log of this page."


def asset(name: str) -> str:
    """Read a file that the page is made of."""
    return (_ASSETS / name).read_text(encoding="utf-8")


def part(name: str, form: Form) -> str:
    """Return a part of the page where pictures are drawn or uploaded, as it is for the model's form of pictures."""
    return _render(f"{name}.html.j2", colour=form.has_colours, garment=form.light_on_black)


def card(name: str, metadata: Metadata | None) -> str:
    """Show which model is asked, as the predictor says; without what it says, the predictor is down."""
    return _render("card.html.j2", title="Try the model", name=name, model=metadata)


def gallery(images: Gallery, selection: Selection, problem: str = "") -> str:
    """Show test images with their labels; those that the model reads wrongly are marked."""
    entries = list(_entries(images, selection))
    counts = {"asked": selection.asked, "right": selection.right}
    return _render("gallery.html.j2", entries=entries, problem=problem, **counts)


def answer(
    image: Pixels, probabilities: Probabilities, classes: Sequence[str], label: int | None,
    index: int | None = None, explained: Pixels | None = None,
) -> str:  # fmt: skip
    """Show what the model got, the probability of every class and, where it was asked for, what the answer rests on."""
    named = list(classes) if len(classes) == len(probabilities) else [f"class {n}" for n in range(len(probabilities))]
    shown = [
        {"name": name, "probability": min(1.0, max(0.0, value)), "percent": f"{value * 100:.1f} %"}
        for name, value in zip(named, probabilities.tolist(), strict=True)
    ]
    known = label if label is not None and label < len(shown) else None
    read = int(probabilities.argmax())
    heat = None if explained is None else to_data_url(explained)
    return _render(
        "answer.html.j2", image=to_data_url(image), classes=shown, read=read, label=known, form=_form(image),
        index=index, heat=heat,
    )  # fmt: skip


def trouble(error: HyperflowError) -> str:
    """Say why there is no answer; where the predictor is and how it failed is for the log, not for visitors."""
    if isinstance(error, JobFailed):
        return _render("trouble.html.j2", what="The model could not be asked", why=unanswered(error), remedy=_AGAIN)
    return _render(
        "trouble.html.j2", what=_capital(error.what), why=_sentence(error.why), remedy=_sentence(error.remedy)
    )


def unanswered(error: JobFailed) -> str:
    """Say in a sentence how the predictor failed, and nothing of where it is."""
    if isinstance(error, JobTimeout):
        return "The predictor took too long to answer."
    return "The predictor gives no answer, or none that makes sense."


def _entries(images: Gallery, selection: Selection) -> Iterator[dict[str, object]]:
    for place, index in enumerate(selection.indices):
        image, label = images[index]
        name, misread_as = images.classes[label], ""
        if selection.answers is not None:
            read = int(selection.answers[place].argmax())
            misread_as = "" if read == label else _class(images.classes, read)
        title = f"{name}, read as {misread_as}" if misread_as else name
        yield {"index": index, "image": to_data_url(image), "label": name, "misread_as": misread_as, "title": title}


def _form(image: Pixels) -> str:
    height, width = image.shape[:2]
    return f"{width} by {height} {'grey ' if image.ndim == 2 else ''}pixels"


def _class(classes: Sequence[str], index: int) -> str:
    return classes[index] if index < len(classes) else f"class {index}"


def _sentence(text: str) -> str:
    return f"{_capital(text)}." if text else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _render(template: str, /, **values: object) -> str:
    return _templates().get_template(template).render(**values)


@functools.cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ASSETS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
