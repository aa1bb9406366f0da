"""The section Experiments of the page Compare: a table of all experiments, and a chart of their models."""

from pathlib import Path

import pandas as pd
import streamlit as st

from app import cache, charts, experiments, sidebar
from app.cache import LoadedModel
from app.charts import NAMES
from distillery.evaluation.roles import ROLES

number = st.column_config.NumberColumn
COLUMNS = {  # title: key of the row, and how the column is written
    "Experiment": ("experiment", st.column_config.TextColumn(pinned=True)),
    "Now": ("now", None),
    "Data set": ("prepare.dataset", None),
    "Teacher (%)": ("teacher.accuracy", number(format="%.2f")),
    "Distilled (%)": ("distilled.accuracy", number(format="%.2f")),
    "Scratch (%)": ("scratch.accuracy", number(format="%.2f")),
    "Gain (points)": (
        "gain.points",
        number(format="%+.2f", help="distilled minus plain training with its own recipe, percentage points"),
    ),
    "Gain from": ("gain.ci_low", number(format="%+.2f", help="low end of the gain's 95 % interval")),
    "Gain to": ("gain.ci_high", number(format="%+.2f", help="high end of the gain's 95 % interval")),
    "p": ("gain.p", number(format="scientific", help="of the hypothesis that distilling gains nothing")),
    "Over same recipe": (
        "gain_over_same_recipe.points",
        number(format="%+.2f", help="distilled minus the same recipe without a teacher, percentage points"),
    ),
    "Temperature": ("distill.temperature", number(format="%.3g")),
    "Alpha": ("distill.alpha", number(format="%.3g", help="weight of the hard-label loss")),
    "Method": ("distill.method", None),
    "Created": ("created", st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm")),
    "Teacher": ("train_teacher.model", None),
    "Student": ("student.model", None),
    "Teacher parameters": ("teacher.parameters", number(format="localized")),
    "Student parameters": ("student.parameters", number(format="localized")),
    "Fewer parameters": ("compression.parameters", number(format="%.2f ×", help="parameters: teacher ÷ student")),
    "Fewer bytes": ("compression.bytes", number(format="%.2f ×", help="size of the file: teacher ÷ student")),
    "Seeds": ("student.seeds", None),
}


def show_experiments(models: dict[str, LoadedModel]) -> None:
    """Draw the section.

    Args:
        models: by role, those in the folder: of the row `now` they tell the sizes before `export` does.
    """
    if st.button("Read again", icon=":material/refresh:"):
        cache.clear_experiment_table()
    rows, why_not = cache.experiment_table(Path.cwd())
    if why_not:
        sidebar.tell_problems([why_not])
    if not rows:
        st.info("No experiment is recorded yet. Make one with `dvc exp run`, or with `dvc repro`.")
        return
    sizes = {f"{'teacher' if role == 'teacher' else 'student'}.parameters": models[role].parameters for role in models}
    rows = [row | sizes if row["now"] else row for row in rows]
    st.dataframe(
        pd.DataFrame([{title: _cell(key, row[key]) for title, (key, _) in COLUMNS.items()} for row in rows]),
        hide_index=True,
        column_config={title: config for title, (_, config) in COLUMNS.items() if config},
        width="stretch",
    )
    st.caption(
        "Click a column to sort by it. *Now* marks the experiment whose results are in this folder. Accuracies are "
        "means over the seeds. These are the experiments that DVC knows; `mlflow ui` shows every run."
    )
    datasets = list(dict.fromkeys(row["prepare.dataset"] for row in rows))
    dataset = st.selectbox("Parameters against accuracy, on the data set", datasets, width=320)
    points = model_points([row for row in rows if row["prepare.dataset"] == dataset])
    if len(points):
        st.altair_chart(charts.parameters_and_accuracy(points))
    else:
        st.info("The sizes of these experiments' models are not recorded: the stage `evaluate` writes them.")


def _cell(key: str, value):
    return 100 * value if key.endswith(".accuracy") and value is not None else value


def model_points(rows: list[experiments.Row]) -> pd.DataFrame:
    """Return one row per model of the experiments, as `charts.parameters_and_accuracy` draws them."""
    return pd.DataFrame(
        [
            {
                "Experiment": row["experiment"],
                "Model": NAMES[role],
                "Parameters": row[size],
                "Accuracy (%)": 100 * row[f"{role}.accuracy"],
                "Temperature": row["distill.temperature"],
                "Alpha": row["distill.alpha"],
            }
            for row in rows
            for role in ROLES
            if row[size := "teacher.parameters" if role == "teacher" else "student.parameters"]
        ]
    )
