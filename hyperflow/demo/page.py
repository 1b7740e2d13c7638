"""What is on the page, and what its parts do."""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr

from hyperflow.datasets import fashion_mnist
from hyperflow.demo import pictures, views
from hyperflow.demo.gallery import Gallery, Selection
from hyperflow.demo.pictures import Form, Pixels
from hyperflow.demo.predictor import Metadata, Predictor
from hyperflow.errors import HyperflowError, JobFailed

LOGGER = logging.getLogger("hyperflow.demo")

TITLE = "Hyperflow demo"
AT_ONCE = 4
WAITING = 64
LOOK_AGAIN = 15
"""Seconds after which an open page asks again which model is served."""

_NO_IMAGES = "There is no data set here to pick from; draw or upload a picture instead."
_INVITATION = '<p class="muted">Pick, draw or upload a picture. The answer appears here.</p>'


class Page:
    """The page's parts and their answers to what a visitor does; nothing is remembered between two requests.

    Args:
        predictor: The model asked.
        gallery: Test images, or None where there is no data set.
    """

    def __init__(self, predictor: Predictor, gallery: Gallery | None) -> None:
        self.predictor, self.gallery = predictor, gallery
        self.classes = gallery.classes if gallery else fashion_mnist.CLASSES
        self.form = gallery.form if gallery else Form()

    def blocks(self) -> Any:
        """Lay the page out."""
        with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
            card = gr.HTML(elem_id="card")
            with gr.Row():
                with gr.Column(scale=6, min_width=320):
                    with gr.Tab("Test images"):
                        images = self._image_tab()
                    with gr.Tab("Draw"):
                        canvas = self._part("draw")
                    with gr.Tab("Upload"):
                        upload = self._part("upload")
                with gr.Column(scale=5, min_width=320, elem_id="answers"):
                    script = views.asset("answer.js")
                    answer = gr.HTML(_INVITATION, js_on_load=script, elem_id="answer")
            for part in (images, canvas, upload):
                part.ask(self.answer, None, answer, **_LATEST)
            answer.explain(self.explain, None, answer, **_LATEST)
            blocks.load(self.card, None, card, **_QUIET)
            gr.Timer(LOOK_AGAIN).tick(self.card, None, card, **_QUIET)
            blocks.load(self.some_images, None, images, **_QUIET)
        return blocks.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE)

    def _image_tab(self) -> Any:
        images = gr.HTML(js_on_load=views.asset("gallery.js"), apply_default_css=False, elem_id="images")
        if self.gallery:
            with gr.Row():
                gr.Button("Other images", size="sm").click(self.some_images, None, images, **_QUIET)
                gr.Button("Misread images", size="sm").click(self.misread_images, None, images, **_QUIET)
        return images

    def card(self) -> str:
        """Say which model is asked."""
        metadata: Metadata | None = None
        try:
            metadata = self.predictor.describe()
        except JobFailed as error:
            LOGGER.warning("%s", error)
        return views.card(self.predictor.name, metadata)

    def some_images(self) -> str:
        """Show test images chosen at random, and mark those misread."""
        if self.gallery is None:
            return f'<p class="note">{_NO_IMAGES}</p>'
        selection = self.gallery.sample()
        try:
            return views.gallery(self.gallery, self.gallery.judged(self.predictor, selection))
        except JobFailed as error:
            LOGGER.warning("%s", error)
            return views.gallery(self.gallery, selection, views.unanswered(error))

    def misread_images(self) -> str:
        """Show test images that the model reads wrongly."""
        if self.gallery is None:
            return f'<p class="note">{_NO_IMAGES}</p>'
        try:
            return views.gallery(self.gallery, self.gallery.misread(self.predictor))
        except JobFailed as error:
            LOGGER.warning("%s", error)
            return views.gallery(self.gallery, Selection(()), views.unanswered(error))

    def answer(self, event: gr.EventData) -> str:
        """Ask the model about the test image picked, or the picture drawn or uploaded."""
        try:
            return self._answered(event._data, explained=False)
        except HyperflowError as error:
            LOGGER.warning("%s", error)
            return views.trouble(error)

    def _part(self, name: str) -> Any:
        template, script = views.part(name, self.form), views.asset(f"{name}.js")
        return gr.HTML(html_template=template, js_on_load=script, apply_default_css=False, elem_id=name)

    def explain(self, event: gr.EventData) -> str:
        """Show, beside the picture that was answered, what the answer rests on."""
        try:
            return self._answered(event._data, explained=True)
        except HyperflowError as error:
            LOGGER.warning("%s", error)
            return views.trouble(error)

    def _answered(self, sent: object, explained: bool) -> str:
        image, label, index = self._asked(sent)
        answer = self.predictor.ask(image[None])[0]
        heat = pictures.heat(image, self.predictor.explain(image)) if explained else None
        return views.answer(image, answer, self.classes, label, index, heat)

    def _asked(self, sent: object) -> tuple[Pixels, int | None, int | None]:
        sent = sent if isinstance(sent, dict) else {}
        if "index" in sent and self.gallery:
            return *self.gallery[sent["index"]], sent["index"]
        if "exact" in sent:
            return pictures.exact(pictures.from_data_url(sent["exact"]), self.form), None, None
        return pictures.to_input(pictures.from_data_url(sent.get("picture")), self.form), None, None


def theme() -> Any:
    """Return the page's look: the visitor's own fonts, so that none is fetched."""
    fonts, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    return gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=mono)


_QUIET = {"api_visibility": "private", "show_progress": "hidden"}
_LATEST = {**_QUIET, "trigger_mode": "always_last"}
