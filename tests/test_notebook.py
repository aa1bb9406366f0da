"""The notebook, run from top to bottom on the tests' own pipeline; and what is committed of it."""

import json

import nbformat
import pytest
from conftest import ROOT, environment
from nbclient import NotebookClient

COMMITTED = nbformat.read(ROOT / "notebooks/walkthrough.ipynb", as_version=4)


@pytest.mark.long
def test_it_runs_from_top_to_bottom(pipeline):
    notebook = nbformat.read(pipeline / "notebooks/walkthrough.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(pipeline / "notebooks")}})
    client.execute(env=environment(), cwd=str(pipeline / "notebooks"))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    images = json.loads((pipeline / "data/prepared/dataset.json").read_text())["sizes"]["train"]
    assert f"digits: {images:,} training images, 10 classes" in "".join(output.get("text", "") for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 6


def test_it_is_committed_with_the_outputs_of_the_committed_results():
    code = [cell for cell in COMMITTED.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert "error" not in {output.output_type for output in outputs}
    gain = json.loads((ROOT / "metrics/headline.json").read_text())["gain"]
    told = f": {gain['points']:+.2f} points, 95 % interval {gain['ci_low']:+.2f} to {gain['ci_high']:+.2f}"
    assert any(told in output.get("text", "") for output in outputs)
    assert not any(str(path) in json.dumps(COMMITTED) for path in ("/home/", "/tmp/", "/root/"))
