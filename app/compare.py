"""Compare: the three models side by side, how they were trained, where they err, and every experiment there is."""

from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from app import charts, loaded, recorded, sidebar
from app.charts import NAMES
from app.loaded import LoadedModel
from app.results import KINDS, Evaluation
from distillery.evaluation.comparison import accuracy_interval


def show_page() -> None:
    """Draw the page."""
    st.title("Teacher and students, side by side")
    models, problems = loaded.models()
    evaluation, why_not = loaded.evaluation()
    if not models and not evaluation:
        sidebar.tell_no_models([*problems, why_not])
        return
    sidebar.tell_problems([*problems, *([why_not] if why_not else [])])
    if evaluation:
        sidebar.tell_outdated()
        show_headline(evaluation)
    show_models(models, evaluation)
    sections = {"Experiments": partial(show_experiments, models)}
    if evaluation:
        sections = {"Training": show_training, "Confusion": show_confusion, "By class": show_classes} | sections
    st.divider()
    sections[st.segmented_control("Details", list(sections), default=next(iter(sections)), required=True)]()


def show_headline(evaluation: Evaluation) -> None:
    """The answer in two sentences."""
    gain, compression = evaluation.headline["gain"], evaluation.headline["compression"]
    speedup = evaluation.timing["speedup"]
    sure = gain["ci_low"] > 0 or gain["ci_high"] < 0
    st.markdown(
        f"**Distilling {'gained' if gain['points'] >= 0 else 'lost'} {abs(gain['points']):.2f} percentage points** of "
        f"accuracy against training the same network from the labels alone (95 % interval {gain['ci_low']:+.2f} to "
        f"{gain['ci_high']:+.2f}, McNemar p = {gain['mcnemar_p']:.2g}"
        f"{'' if sure else ': not more than chance may do'}). The student has "
        f"**{times(compression['parameters'], 'fewer', 'more')} parameters** than its teacher; it answers "
        f"{times(speedup['latency'], 'faster', 'slower')} on one image, "
        f"{times(speedup['throughput'], 'faster', 'slower')} on many at once."
    )


def times(ratio: float, above: str, below: str) -> str:
    """A ratio for people, `2.6× fewer`; below 1 its inverse, `1.5× more`."""
    return f"{ratio:.1f}× {above}" if ratio >= 0.95 else f"{1 / ratio:.1f}× {below}"


def show_models(models: dict[str, LoadedModel], evaluation: Evaluation | None) -> None:
    """A card a model, then their accuracies on one axis."""
    intervals = {}
    for kind, column in zip(KINDS, st.columns(3, gap="medium"), strict=True):
        with column, st.container(border=True, height="stretch"):
            model = models.get(kind)
            charts.model_heading(kind, note(kind, model))
            if evaluation:
                images = len(evaluation.labels)
                right = int((evaluation.predicted[kind] == evaluation.labels).sum())
                low, high = accuracy_interval(right, images)
                intervals[kind] = (right / images, low, high)
                st.metric("Accuracy on the test set", f"{100 * right / images:.2f} %")
                st.caption(
                    f"95 % interval {100 * low:.2f} to {100 * high:.2f} %  \n"
                    f"{images - right:,} of {images:,} images wrong  \n{mean_of_seeds(evaluation.headline[kind])}"
                )
            st.html(facts(kind, model, evaluation))
    if intervals:
        st.altair_chart(charts.accuracy_intervals(intervals))
        st.caption(
            "The models are those to ship: of each kind of student the one that was best on validation. Their "
            "intervals (Wilson) are each model's by itself; the gain above is measured pairwise, over all seeds, and "
            "so is surer. Latency and throughput are those of the last `evaluate`; both students are one network, "
            "timed once."
        )


def note(kind: str, model: LoadedModel | None) -> str:
    """A few words on a model, under its name."""
    if model is None:
        return "not here"
    return "the large model" if kind == "teacher" else f"the small model, seed {model.file.seed}"


def mean_of_seeds(headline: dict) -> str:
    """The accuracy of all students of a kind, where there are several."""
    if not headline.get("accuracy_std"):
        return "one model"
    return f"mean over the seeds {100 * headline['accuracy']:.2f} ± {100 * headline['accuracy_std']:.2f} %"


def facts(kind: str, model: LoadedModel | None, evaluation: Evaluation | None) -> str:
    """What else there is to know about a model, as a table in HTML."""
    rows = [
        ("Parameters", f"{model.parameters:,}" if model else "–"),
        ("File", f"{model.bytes:,} bytes" if model else "–"),
    ]
    if evaluation:
        measured = evaluation.timing["teacher" if kind == "teacher" else "distilled"]
        rows += [
            ("One image", f"{measured['latency_ms']['median']:.2f} ms"),
            ("Many images", f"{measured['images_per_second']['median']:,.0f} images / s"),
        ]
    cells = "".join(
        f'<tr style="border-top: 1px solid #E4E4E4"><td style="padding: 5px 0; color: #555">{name}</td>'
        f'<td style="text-align: right; font-variant-numeric: tabular-nums">{value}</td></tr>'
        for name, value in rows
    )
    return f'<table style="width: 100%; border-collapse: collapse">{cells}</table>'


def show_training() -> None:
    """Training curves."""
    st.image(loaded.figure("training_curves"), width="stretch")
    st.caption(
        "Of students, means over the seeds. The loss is that of the labels; a distilled student's soft loss is apart."
    )


def show_confusion() -> None:
    """Confusion matrices."""
    st.image(loaded.figure("confusion_matrices"), width="stretch")


def show_classes() -> None:
    """Accuracy by class, and what distilling gained there."""
    left, right = st.columns(2)
    left.image(loaded.figure("per_class_accuracy"), width="stretch")
    right.image(loaded.figure("per_class_gain"), width="stretch")
    st.caption("Of students, means over the seeds.")


def show_experiments(models: dict[str, LoadedModel]) -> None:
    """Every experiment in a table, and their models' sizes against accuracy."""
    if st.button("Read again", icon=":material/refresh:"):
        loaded.experiments.clear()
    rows, problems = loaded.experiments(str(Path.cwd()))
    sidebar.tell_problems(problems)
    if not rows:
        st.info("No experiment is recorded yet. Make one with `dvc exp run`, or with `dvc repro`.")
        return
    rows = recorded.with_sizes(rows, sizes_now(rows, models))
    table = pd.DataFrame([{title: value(row) for title, value in COLUMNS.items()} for row in rows])
    st.dataframe(table, hide_index=True, column_config=column_config(), width="stretch")
    st.caption(
        "Click a column to sort by it. *Now* marks what lies in this folder. Accuracies are means over the seeds. "
        "*Known to* says who recorded the experiment."
    )
    datasets = list(dict.fromkeys(row["prepare.dataset"] for row in rows))
    dataset = st.selectbox("Parameters against accuracy, on the data set", datasets, width=320)
    points = model_points([row for row in rows if row["prepare.dataset"] == dataset])
    if len(points):
        st.altair_chart(charts.parameters_and_accuracy(points))
    else:
        st.info("Of these experiments nobody recorded how many parameters the models have.")


def sizes_now(rows: list, models: dict[str, LoadedModel]) -> dict:
    """By data set and architecture, the parameters of the models in the folder."""
    now = next((row for row in rows if row["now"]), None)
    if now is None:
        return {}
    architectures = {"teacher": "train_teacher.architecture", "distilled": "student.architecture"}
    return {
        (now["prepare.dataset"], now[key]): models[kind].parameters
        for kind, key in architectures.items()
        if kind in models
    }


def model_points(rows: list) -> pd.DataFrame:
    """The models of experiments, a row each, as `charts.parameters_and_accuracy` draws them."""
    return pd.DataFrame(
        [
            {
                "Experiment": row["experiment"],
                "Model": NAMES[kind],
                "Parameters": row["teacher.parameters" if kind == "teacher" else "student.parameters"],
                "Accuracy (%)": 100 * row[f"{kind}.accuracy"],
                "Temperature": row["distill.temperature"],
                "Alpha": row["distill.alpha"],
            }
            for row in rows
            for kind in KINDS
            if row["teacher.parameters" if kind == "teacher" else "student.parameters"]
        ]
    )


def scaled(key: str):
    """A column of percent from one of parts."""
    return lambda row: None if row[key] is None else 100 * row[key]


COLUMNS = {
    "Experiment": lambda row: row["experiment"],
    "Now": lambda row: row["now"],
    "Data set": lambda row: row["prepare.dataset"],
    "Teacher (%)": scaled("teacher.accuracy"),
    "Distilled (%)": scaled("distilled.accuracy"),
    "Scratch (%)": scaled("scratch.accuracy"),
    "Gain (points)": lambda row: row["gain.points"],
    "Gain from": lambda row: row["gain.ci_low"],
    "Gain to": lambda row: row["gain.ci_high"],
    "McNemar p": lambda row: row["gain.mcnemar_p"],
    "Temperature": lambda row: row["distill.temperature"],
    "Alpha": lambda row: row["distill.alpha"],
    "Method": lambda row: row["distill.method"],
    "Created": lambda row: row["created"],
    "Known to": lambda row: row["recorded"],
    "Teacher": lambda row: row["train_teacher.architecture"],
    "Student": lambda row: row["student.architecture"],
    "Teacher parameters": lambda row: row["teacher.parameters"],
    "Student parameters": lambda row: row["student.parameters"],
    "Fewer parameters": lambda row: row["compression.parameters"],
    "Fewer bytes": lambda row: row["compression.bytes"],
    "Seeds": lambda row: row["student.seeds"],
}


def column_config() -> dict:
    """How the numbers are written."""
    number = st.column_config.NumberColumn
    return {name: number(format="%.2f") for name in ("Teacher (%)", "Distilled (%)", "Scratch (%)")} | {
        "Gain (points)": number(format="%+.2f", help="distilled minus scratch, percentage points of accuracy"),
        "Gain from": number(format="%+.2f", help="low end of the gain's 95 % interval"),
        "Gain to": number(format="%+.2f", help="high end of the gain's 95 % interval"),
        "McNemar p": number(format="scientific", help="McNemar's exact test of the gain"),
        "Temperature": number(format="%.3g"),
        "Alpha": number(format="%.3g", help="weight of the labels' loss"),
        "Student parameters": number(format="localized"),
        "Fewer parameters": number(format="%.2f ×", help="the teacher's parameters ÷ the student's"),
        "Fewer bytes": number(format="%.2f ×", help="the teacher's file ÷ the student's"),
        "Created": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
        "Experiment": st.column_config.TextColumn(pinned=True),
    }


show_page()
