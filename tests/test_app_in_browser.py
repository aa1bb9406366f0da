"""The demo in a real browser: a digit drawn with the mouse, files uploaded, the models measured.

Collected with BROWSER=1 in the environment alone (`pip install -r requirements/browser.txt`, and a Chromium that is
installed as `chromium`).
"""

import http.client
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import environment, free_port
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect, sync_playwright

from app.charts import NAMES
from app.handwriting import BRUSH, CANVAS, LAYOUTS, place_ink
from app.results import find_models

SECONDS = 120
STROKE = [(60, 60), (140, 56), (220, 60), (180, 130), (150, 190), (130, 245)]  # a seven, in pixels of the canvas


@pytest.fixture(scope="module")
def address(pipeline) -> Iterator[str]:
    """Start the demo as a user would; yield its address."""
    port = free_port()
    with open(pipeline / ".distillery/demo.log", "w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "streamlit", "run", "app/demo.py"),
                *("--server.headless=true", f"--server.port={port}"),
            ],
            cwd=pipeline,
            env=environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/_stcore/health")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                pass
            assert process.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < deadline, "the demo did not answer"
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        # Without its sandbox: as root, in a container, it has none to offer.
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 1100})
    page.set_default_timeout(1000 * SECONDS)
    expect.set_options(timeout=1000 * SECONDS)
    yield page
    assert page.get_by_test_id("stException").count() == 0
    page.close()


def predictions(page: Page) -> list[str]:
    """Return what the three models predict on the page."""
    values = page.get_by_test_id("stMetricValue")
    expect(values).to_have_count(3)
    return [text.strip() for text in values.all_inner_texts()]


def expected_predictions(pipeline: Path, image: np.ndarray) -> list[str]:
    """Return what the models themselves predict for an image, (height, width) uint8."""
    found = []
    for role in NAMES:
        model = keras.models.load_model(pipeline / find_models()[0][role].path)
        found.append(str(model.predict(image[np.newaxis, ..., np.newaxis], verbose=0).argmax()))
    return found


def test_digit_drawn_with_the_mouse_is_predicted_and_softened(page, address, pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)
    page.goto(f"{address}/try_page")
    expect(page.get_by_text("Nothing to look at yet")).to_be_visible()
    box = page.locator("canvas").last.bounding_box()
    page.mouse.move(box["x"] + STROKE[0][0], box["y"] + STROKE[0][1])
    page.mouse.down()
    for x, y in STROKE[1:]:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=10)
    page.mouse.up()
    expect(page.get_by_text("What the models see")).to_be_visible()
    sheet = Image.new("L", (CANVAS, CANVAS))  # the same stroke, drawn by another program
    ImageDraw.Draw(sheet).line(STROKE, fill=255, width=BRUSH, joint="curve")
    assert predictions(page) == expected_predictions(pipeline, place_ink(np.asarray(sheet), 8, LAYOUTS["digits"]))

    expect(page.get_by_text("At temperature 1 these are the probabilities")).to_be_visible()
    page.get_by_role("slider").press("End")
    expect(page.get_by_text(re.compile("^At temperature 20 the teacher leaves"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"% at temperature 20$"))).to_have_count(3)


def test_uploaded_file_is_predicted_or_refused(page, address, pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir(pipeline)
    image = np.load("data/prepared/test_images.npy")[3, ..., 0]
    Image.fromarray(image).save(tmp_path / "digit.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    page.goto(f"{address}/try_page")
    page.get_by_text("Upload", exact=True).click()
    page.locator("input[type=file]").set_input_files(tmp_path / "digit.png")
    assert predictions(page) == expected_predictions(pipeline, image)
    page.locator("input[type=file]").set_input_files(tmp_path / "notes.txt")
    expect(page.get_by_text("notes.txt: cannot be read as an image; accepted: PNG")).to_be_visible()
    expect(page.get_by_test_id("stMetricValue")).to_have_count(0)


def test_links_reach_every_page_and_speed_is_measured(page, address, pipeline):
    page.goto(address)
    expect(page.get_by_test_id("stMetricValue")).to_have_count(3)
    expect(page.get_by_text("Distillery trains a small model from a large one.")).to_be_visible()
    page.get_by_text("Experiments", exact=True).click()
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    page.get_by_role("link", name="Speed").click()
    page.get_by_role("button", name="Measure").click()
    expect(page.get_by_text("1,000 at once")).to_be_visible()
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    assert "oneDNN" not in (pipeline / ".distillery/demo.log").read_text()  # the terminal stays readable
