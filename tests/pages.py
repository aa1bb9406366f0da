"""The pages of the demo in Streamlit's own test, without a browser."""

import re
import shutil
from pathlib import Path

from conftest import ROOT
from streamlit.testing.v1 import AppTest


def enter(monkeypatch, folder: Path) -> None:
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)


def copied(pipeline: Path, target: Path) -> Path:
    """Copy what a run left, without Git, DVC's cache and MLflow, to be damaged."""
    for name in ("params.yaml", "dvc.lock", "data/prepared", "models", "metrics", "plots"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (pipeline / name).is_dir() else shutil.copy2
        copy(pipeline / name, target / name)
    return target


def open_page(name: str) -> AppTest:
    page = AppTest.from_file(str(ROOT / "app/demo.py"), default_timeout=200)
    return page.switch_page(name).run()


def shown_text(page: AppTest) -> str:
    """Return all text of a page; no page ever shows a traceback."""
    assert not page.exception, page.exception
    elements_of = (page.markdown, page.caption, page.info, page.warning, page.error, page.title, page.code, page.html)
    said = "\n".join(str(element.value) for elements in elements_of for element in elements)
    return re.sub(r"\\(.)", r"\1", said)  # a backslash keeps Markdown from taking a character for its own
