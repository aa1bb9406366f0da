"""Compare: the three models side by side, their training, their errors, and every experiment."""

import streamlit as st

from app import cache, charts, sidebar
from app.cache import LoadedModel
from app.experiment_table import show_experiments
from app.results import TimedEvaluation
from distillery.evaluation.comparison import accuracy_interval
from distillery.evaluation.roles import ROLES
from distillery.learning.metrics import balanced_accuracy, confusion_matrix, macro_f1


def show_page() -> None:
    """Draw the page."""
    st.title("Teacher and students, side by side")
    models, problems = cache.models()
    evaluation, why_not = cache.evaluation()
    if not models and not evaluation:
        sidebar.tell_no_models([*problems, why_not])
        return
    sidebar.tell_problems([*problems, *([why_not] if why_not else [])])
    if evaluation:
        sidebar.tell_outdated()
        show_headline(evaluation, models["distilled"].file.seeds if "distilled" in models else None)
    show_models(models, evaluation)
    sections = {"Experiments": lambda: show_experiments(models)}
    if evaluation:
        sections = {"Training": show_training, "Confusion": show_confusion, "Per class": show_classes} | sections
    st.divider()
    sections[st.segmented_control("Details", list(sections), default=next(iter(sections)), required=True)]()


def show_headline(evaluation: TimedEvaluation, seeds: int | None) -> None:
    """Show the gain, the compression and the speed in two sentences.

    Args:
        evaluation: the last one.
        seeds: of the students; None where their files are missing.
    """
    gain, compression = evaluation.headline["gain"], evaluation.headline["compression"]
    control = evaluation.headline["gain_over_same_recipe"]
    speedup = evaluation.timing.get("speedup")
    significant = gain["ci_low"] > 0 or gain["ci_high"] < 0
    st.markdown(
        f"**Distilling {'gained' if gain['points'] >= 0 else 'lost'} {abs(gain['points']):.2f} percentage points** of "
        f"accuracy, {'of these two models, one seed each' if seeds == 1 else 'for this teacher'}, against plain "
        f"training of the same network with a recipe of its own (95 % "
        f"interval {gain['ci_low']:+.2f} to {gain['ci_high']:+.2f}, p = {gain['p']:.2g}"
        f"{'' if significant else ': no more than chance can do'}); against the same recipe without a teacher it is "
        f"{control['points']:+.2f} ({control['ci_low']:+.2f} to {control['ci_high']:+.2f})."
        + (
            f" The student has **{times(compression['parameters'], 'fewer', 'more')} parameters** than its teacher."
            if "parameters" in compression
            else ""
        )
        + (
            f" It predicts {times(speedup['latency'], 'faster', 'slower')} on one image, "
            f"{times(speedup['throughput'], 'faster', 'slower')} on many at once."
            if speedup
            else " Of the teacher's speed nothing is known: it is a table of outputs."
            if evaluation.timing
            else " How fast they are, `dvc repro` measures."
        )
    )


def times(ratio: float, above: str, below: str) -> str:
    """Return a ratio in words, `2.6× fewer`; below 1 its inverse, `1.5× more`."""
    return f"{ratio:.1f}× {above}" if ratio >= 0.95 else f"{1 / ratio:.1f}× {below}"


def show_models(models: dict[str, LoadedModel], evaluation: TimedEvaluation | None) -> None:
    """Show one card per model, then their accuracies on one axis."""
    intervals = {}
    for role, column in zip(ROLES, st.columns(3, gap="medium"), strict=True):
        with column, st.container(border=True, height="stretch"):
            model = models.get(role)
            charts.model_heading(role, note(role, model))
            if evaluation:
                images = len(evaluation.labels)
                correct = int((evaluation.predicted[role] == evaluation.labels).sum())
                low, high = accuracy_interval(correct / images, images)
                intervals[role] = (correct / images, low, high)
                st.metric("Accuracy on the test set", f"{100 * correct / images:.2f} %")
                st.caption(
                    f"95 % interval {100 * low:.2f} to {100 * high:.2f} %  \n"
                    f"{images - correct:,} of {images:,} images wrong  \n{by_class(role, evaluation)}  \n"
                    f"{mean_of_seeds(evaluation.headline[role], model.file.seeds if model else None)}"
                )
            st.html(facts(role, model, evaluation))
    if intervals:
        st.altair_chart(charts.accuracy_intervals(intervals))
        st.caption(
            "Each student is the one to ship, the seed that was best on validation. The intervals (Wilson) are of each "
            "model alone; the gain above is measured pairwise over all seeds, and so is more certain. Latency and "
            "throughput were measured by the last `timing`; both students have the same architecture, timed once."
        )


def note(role: str, model: LoadedModel | None) -> str:
    """Return a note on a model, under its name."""
    if model is None:
        return "not here"
    return "the model that taught" if role == "teacher" else f"the small model, seed {model.file.seed}"


def by_class(role: str, evaluation: TimedEvaluation) -> str:
    """Return what counts every class alike, of the model that is shown, as text."""
    confusion = confusion_matrix(evaluation.labels, evaluation.predicted[role], len(evaluation.classes))
    return f"balanced {100 * balanced_accuracy(confusion):.2f} %, macro F1 {100 * macro_f1(confusion):.2f} %"


def mean_of_seeds(headline: dict, seeds: int | None) -> str:
    """Return the mean accuracy of the students of a role as text.

    Args:
        headline: the role's.
        seeds: how many there are; None where that is not known.
    """
    if "accuracy_std" not in headline or seeds == 1:
        return "one model"
    return f"mean over the seeds {100 * headline['accuracy']:.2f} ± {100 * headline['accuracy_std']:.2f} %"


def facts(role: str, model: LoadedModel | None, evaluation: TimedEvaluation | None) -> str:
    """Return size and speed of a model as a table in HTML."""
    rows = [
        ("Parameters", f"{model.parameters:,}" if model else "–"),
        ("File", f"{model.bytes:,} bytes" if model else "–"),
    ]
    if evaluation:
        measured = evaluation.timing.get("teacher" if role == "teacher" else "distilled")
        rows += [
            ("One image", f"{measured['latency_ms']['median']:.2f} ms" if measured else "–"),
            ("Many images", f"{measured['images_per_second']['median']:,.0f} images / s" if measured else "–"),
        ]
    cells = "".join(
        f'<tr style="border-top: 1px solid #E4E4E4"><td style="padding: 5px 0; color: #555">{name}</td>'
        f'<td style="text-align: right; font-variant-numeric: tabular-nums">{value}</td></tr>'
        for name, value in rows
    )
    return f'<table style="width: 100%; border-collapse: collapse">{cells}</table>'


def show_training() -> None:
    """Show the training curves."""
    st.image(cache.figure("training_curves"), width="stretch")
    st.caption(
        "Students: means over the seeds. The loss is the loss on the labels, without the distilled student's soft loss."
    )


def show_confusion() -> None:
    """Show the confusion matrices."""
    st.image(cache.figure("confusion_matrices"), width="stretch")


def show_classes() -> None:
    """Show the accuracy per class, and what distillation gained there."""
    left, right = st.columns(2)
    left.image(cache.figure("per_class_accuracy"), width="stretch")
    right.image(cache.figure("per_class_gain"), width="stretch")
    st.caption("Students: means over the seeds.")


show_page()
