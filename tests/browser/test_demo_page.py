"""What a visitor does and sees."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image, ImageDraw
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from hyperflow.demo.pictures import from_data_url, to_input

from .conftest import SCREENSHOTS, World, page_for, predictor_of, write_card

CLASSES = 10


class Visitor:
    """Somebody with a browser."""

    def __init__(self, chromium: Chrome, url: str) -> None:
        self.chromium, self.url = chromium, url
        self._wait = WebDriverWait(chromium, 40, 0.05, [StaleElementReferenceException])
        for log in ("performance", "browser"):
            chromium.get_log(log)
        chromium.get(url)
        self.wait(lambda: self.all("#images img") and self.all("#card dd"))

    def wait(self, condition: Callable[[], object]) -> None:
        self._wait.until(lambda _: condition())

    def all(self, selector: str) -> list[WebElement]:
        return self.chromium.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.chromium.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def press(self, name: str) -> None:
        next(button for button in self.all("button") if button.text == name).click()

    def answered(self) -> dict[str, float]:
        """Wait for an answer and read it: class name to percent."""
        self.wait(lambda: self.all("#answer .classes li"))
        rows = [[part.text for part in row.find_elements(By.XPATH, "span")] for row in self.all("#answer .classes li")]
        return {name.removesuffix(" ✓"): float(percent.removesuffix(" %")) for name, _, percent in rows}

    def got(self) -> str:
        """Return the picture of what the model got, as a data URL."""
        return self.one("#answer img").get_attribute("src") or ""

    def screenshot(self, name: str) -> None:
        if SCREENSHOTS:
            self.chromium.save_screenshot(os.path.join(SCREENSHOTS, f"demo-{name}.png"))

    def facts(self) -> dict[str, str]:
        """Read what the page says of the model."""
        return dict(zip([each.text for each in self.all("dt")], [each.text for each in self.all("dd")], strict=True))

    def hosts(self) -> set[str]:
        """Every host that the page had the browser ask for something."""
        messages = [json.loads(entry["message"])["message"] for entry in self.chromium.get_log("performance")]
        sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        ours = [params["request"]["url"] for params in sent if params["documentURL"].startswith(self.url)]
        return {urlsplit(url).netloc for url in ours if urlsplit(url).scheme not in ("data", "blob")}


@pytest.fixture
def visitor(chromium: Chrome, page: str) -> Iterator[Visitor]:
    """Somebody on the page; whatever they do, only the page's own server is asked, and nothing goes wrong."""
    visitor = Visitor(chromium, page)
    yield visitor
    assert visitor.hosts() == {urlsplit(page).netloc}
    assert [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_says_which_model_is_asked(visitor: Visitor, world: World) -> None:
    assert visitor.facts() == {
        "Model": "fashion-mnist version 1",
        "Test accuracy": f"{world.accuracy * 100:.1f} %",
        "Trained by run": "demo-run",
        "Path": "models/fashion-mnist/demo-run",
        "Predictor": "answers",
    }


def test_after_a_rollout_an_open_page_shows_the_new_model(chromium: Chrome, world: World, tmp_path: Path) -> None:
    next_model = world.model.with_name("next-run")
    shutil.copytree(world.model, next_model)
    write_card(world, "next-run", 0.999)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    first, second, own = (tmp_path / name for name in ("first", "second", "page"))
    for folder in (first, second, own):
        folder.mkdir()
    with page_for(f"http://127.0.0.1:{port}", own, world) as page:
        with predictor_of(world.model, first, port):
            visitor = Visitor(chromium, page)
            assert visitor.facts()["Trained by run"] == "demo-run"
        with predictor_of(next_model, second, port):
            visitor.wait(lambda: visitor.facts().get("Trained by run") == "next-run")
            assert visitor.facts()["Test accuracy"] == "99.9 %"
            assert visitor.facts()["Path"] == "models/fashion-mnist/next-run"
        chromium.get("about:blank")  # a page left open would ask on after its server's end


def test_a_picked_image_is_judged_by_its_label(visitor: Visitor) -> None:
    visitor.one("#images button:not(.misread)").click()
    answer = visitor.answered()
    assert len(answer) == CLASSES
    assert sum(answer.values()) == pytest.approx(100, abs=1)
    assert visitor.text("#answer .verdict") == "✓ Right: it is labelled so"
    label = visitor.text("#images [aria-pressed] span")
    assert max(answer, key=answer.__getitem__) == label
    visitor.screenshot("pick")


def test_why_shows_what_the_answer_rests_on_beside_the_picture(visitor: Visitor, tmp_path: Path) -> None:
    visitor.one("#images button:not(.misread)").click()
    visitor.answered()
    verdict, picture = visitor.text("#answer .verdict"), visitor.got()
    visitor.press("Why?")
    visitor.wait(lambda: visitor.all("#answer .heat img"))
    heat = from_data_url(visitor.one("#answer .heat img").get_attribute("src"))
    red, _, blue = np.moveaxis(np.asarray(heat.convert("RGB"), int), 2, 0)
    assert heat.size == (28, 28)
    assert (red > blue).any()  # something speaks for the answer
    assert (visitor.text("#answer .verdict"), visitor.got()) == (verdict, picture)
    sizes = [image.size for image in visitor.all("#answer .asked img")]
    assert sizes[0] == sizes[1], "they can be compared, point by point"
    visitor.screenshot("why")
    path = tmp_path / "shirt.png"
    photograph().save(path)
    visitor.press("Upload")
    visitor.one("#upload input").send_keys(str(path))
    visitor.wait(lambda: visitor.got() != picture and not visitor.all("#answer .heat img"))
    drawn = visitor.got()
    visitor.press("Why?")
    visitor.wait(lambda: visitor.all("#answer .heat img"))
    assert visitor.got() == drawn


def test_answer_stands_above_the_images_on_a_telephone(visitor: Visitor) -> None:
    size = visitor.chromium.get_window_size()
    visitor.chromium.set_window_size(390, 844)
    try:
        visitor.one("#images button").click()
        visitor.answered()
        assert visitor.one("#answer").rect["y"] < visitor.one("#images").rect["y"]
        assert visitor.chromium.execute_script(
            "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    finally:
        visitor.chromium.set_window_size(size["width"], size["height"])


def test_misread_images_are_marked_as_wrong(visitor: Visitor) -> None:
    visitor.press("Misread images")
    visitor.wait(lambda: "the surest mistakes first" in visitor.text("#images .note"))
    first, *others = visitor.all("#images button")
    assert all("misread" in (button.get_attribute("class") or "") for button in [first, *others])
    label, read = (line.removeprefix("✗ ") for line in first.text.splitlines())
    assert label != read
    first.click()
    answer = visitor.answered()
    assert visitor.text("#answer .verdict") == f"✗ Wrong: it is labelled {label}"
    assert max(answer, key=answer.__getitem__) == read
    visitor.screenshot("misread")


def test_a_drawing_is_answered_after_each_stroke(visitor: Visitor) -> None:
    visitor.press("Draw")
    canvas = visitor.one("#draw canvas")
    visitor.wait(canvas.is_displayed)
    trousers = [(-45, -120), (90, 0), (-90, 25), (90, 0), (-90, 15), (0, 190), (18, 0), (0, -190), (54, 0), (0, 190)]
    draw(visitor, canvas, [*trousers, (18, 0), (0, -190)])
    first, before = visitor.answered(), visitor.got()
    assert visitor.text("#answer p.read") == f"{max(first, key=first.__getitem__)} {max(first.values()):.1f} %"
    assert not visitor.all("#answer .verdict")  # nobody knows what it is
    visitor.screenshot("draw")
    draw(visitor, canvas, [(-110, -110), (220, 0)])
    visitor.wait(lambda: visitor.got() != before)


def test_an_uploaded_photograph_is_shown_as_the_model_gets_it(visitor: Visitor, tmp_path: Path) -> None:
    path = tmp_path / "shirt.jpg"
    photograph().save(path, quality=85)
    visitor.press("Upload")
    visitor.one("#upload input").send_keys(str(path))
    assert len(visitor.answered()) == CLASSES
    assert visitor.one("#upload canvas").is_displayed()
    shown = np.asarray(from_data_url(visitor.got()), float)
    assert np.abs(shown - to_input(photograph())).mean() < 3
    visitor.screenshot("upload")


def test_a_file_that_is_no_picture_is_refused(visitor: Visitor, tmp_path: Path) -> None:
    path = tmp_path / "shirt.png"
    path.write_bytes(b"not a picture")
    visitor.press("Upload")
    visitor.one("#upload input").send_keys(str(path))
    visitor.wait(visitor.one("#upload [role=alert]").is_displayed)
    assert not visitor.all("#answer .classes")


def test_an_empty_canvas_is_refused(visitor: Visitor, tmp_path: Path) -> None:
    path = tmp_path / "white.png"
    Image.new("RGB", (50, 50), "white").save(path)
    visitor.press("Upload")
    visitor.one("#upload input").send_keys(str(path))
    visitor.wait(lambda: visitor.all("#answer [role=alert]"))
    assert "nothing in the picture" in visitor.text("#answer [role=alert]")


def test_a_predictor_that_is_down_is_said_on_the_page(chromium: Chrome, page_without_predictor: str) -> None:
    visitor = Visitor(chromium, page_without_predictor)
    assert "does not answer" in visitor.text("#card")
    assert "gives no answer" in visitor.text("#images [role=alert]")
    visitor.one("#images button").click()
    visitor.wait(lambda: visitor.all("#answer [role=alert]"))
    message = visitor.text("#answer [role=alert]")
    assert "The model could not be asked" in message
    assert "127.0.0.1" not in message
    assert "Error" not in message
    visitor.screenshot("down")


def draw(visitor: Visitor, canvas: WebElement, strokes: list[tuple[int, int]]) -> None:
    """Press at the first place, seen from the canvas's middle, and go on by the offsets."""
    pen = ActionChains(visitor.chromium, duration=15)
    pen.move_to_element_with_offset(canvas, *strokes[0]).click_and_hold()
    for x, y in strokes[1:]:
        pen.move_by_offset(x, y)
    pen.release().perform()


def photograph() -> Image.Image:
    """A blue shirt on a wall that is not quite white, of the size that a telephone's camera makes."""
    picture = Image.new("RGB", (4000, 3000), (236, 232, 225))
    sleeves = [
        (1550, 620),
        (1750, 550),
        (2000, 650),
        (2250, 550),
        (2450, 620),
        (2820, 1170),
        (2550, 1350),
        (2400, 1150),
    ]
    hem = [(2420, 2380), (1580, 2380), (1600, 1150), (1450, 1350), (1180, 1170)]
    ImageDraw.Draw(picture).polygon([*sleeves, *hem], fill=(60, 90, 140))
    return picture
