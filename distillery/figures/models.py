"""Figures of the models as a whole: what they cost, how they learned, what they make of classes they never saw."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from distillery.figures.style import FAINT, OTHER, annotated, colour, marker, new_figure, own_style

MARKED_EPOCHS = 30  # with more, markers become a band


def comparison(
    accuracy: Mapping[str, float],
    accuracy_std: Mapping[str, float],
    parameters: Mapping[str, int],
    kilobytes: Mapping[str, float],
    milliseconds: Mapping[str, float] | None = None,
) -> Figure:
    """Draw accuracy, parameters, bytes and latency of the models, one panel each.

    Args:
        accuracy: by model, 0 to 1.
        accuracy_std: by model, the spread over seeds, 0 to 1; absent for a single model.
        parameters: by model.
        kilobytes: by model, the file's size in kB.
        milliseconds: by model, the median latency of one image; left out of a figure that must not vary.
    """
    panels = [("parameters", parameters, "{:,.0f}"), ("file size (kB)", kilobytes, "{:,.0f}")]
    if milliseconds is not None:
        panels.append(("latency of one image (ms)", milliseconds, "{:.2f}"))
    with own_style():
        size = 1.9 * (1 + len(panels)), 0.5 * len(accuracy)
        figure = new_figure(size, left=0.75, bottom=0.65, top=0.6, title="What the student costs and saves")
        axes = figure.subplots(1, 1 + len(panels), sharey=True, gridspec_kw={"wspace": 0.06})
        _draw_accuracy(axes[0], accuracy, accuracy_std)
        for axis, (title, values, form) in zip(axes[1:], panels, strict=True):
            _draw_bars(axis, list(accuracy), values, form)
            axis.set_title(title)
        axes[0].set_yticks(range(len(accuracy)), list(accuracy), fontsize=9)
        axes[0].set_ylim(len(accuracy) - 0.45, -0.55)  # the first model on top
    return figure


def _draw_accuracy(axis: Axes, accuracy: Mapping[str, float], std: Mapping[str, float]) -> None:
    """Draw points, since bars would have to start at 0, and whiskers where there are several seeds."""
    spread = {model: 100 * value for model, value in std.items() if value > 0}
    for row, (model, value) in enumerate(accuracy.items()):
        axis.plot(100 * value, row, marker(model), color=colour(model), markersize=8)
        if model in spread:
            axis.errorbar(100 * value, row, xerr=spread[model], fmt="none", ecolor="black", capsize=4, linewidth=1.2)
        axis.annotate(
            f"{100 * value:.2f}", (100 * value, row), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8
        )
    low = min(100 * value - spread.get(model, 0) for model, value in accuracy.items())
    high = max(100 * value + spread.get(model, 0) for model, value in accuracy.items())
    room = 0.25 * max(high - low, 0.4)
    axis.set_xlim(low - room, high + room)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.set_title("accuracy on the test set (%)")
    note = "\nwhiskers: ± one std over seeds" if spread else ""
    axis.set_xlabel(f"the axis does not start at 0{note}", fontsize=8)


def _draw_bars(axis: Axes, models: Sequence[str], values: Mapping[str, float], form: str) -> None:
    """Draw a bar from 0 per model, with its number."""
    rows = [row for row, model in enumerate(models) if model in values]
    drawn = [models[row] for row in rows]
    bars = axis.barh(rows, [values[model] for model in drawn], color=list(map(colour, drawn)), height=0.6)
    axis.bar_label(bars, [form.format(values[model]) for model in drawn], padding=3, fontsize=8)
    axis.set_xlim(0, 1.7 * max(values.values()))  # room for the numbers
    axis.xaxis.set_major_locator(MaxNLocator(3))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}" if form == "{:,.0f}" else "{x:g}"))
    axis.grid(axis="y", visible=False)


def training_curves(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw accuracy and loss over the epochs on training and validation images; the gap between them is overfitting.

    Args:
        curves: by model, the columns `accuracy`, `val_accuracy`, `loss` (and `hard_loss`), `val_loss`, one value per
            epoch.
    """
    with own_style():
        title = "Training, with augmentation and dropout, and validation, without"
        figure = new_figure((3.2 * len(curves), 3.9), left=0.65, bottom=0.8, top=0.6, title=title)
        shared = {"squeeze": False, "sharey": "row", "sharex": "col", "gridspec_kw": {"wspace": 0.06, "hspace": 0.08}}
        axes = figure.subplots(2, len(curves), **shared)
        for column, (model, history) in enumerate(curves.items()):
            accuracy = [100 * np.asarray(history[name]) for name in ("accuracy", "val_accuracy")]
            # A distiller's loss is a mixture, and labels may be smoothed; the hard loss is measured on validation, too.
            loss = [np.asarray(history["hard_loss" if "hard_loss" in history else "loss"]), history["val_loss"]]
            _draw_curves(axes[0, column], *accuracy, colour(model))
            _draw_curves(axes[1, column], *loss, colour(model))
            gap = float(accuracy[0][-1] - accuracy[1][-1])
            axes[0, column].set_title(f"{model}: gap at the end {gap:+.2f} points")
            axes[1, column].set_xlabel("epoch")
        axes[0, 0].set_ylabel("accuracy (%)")
        axes[1, 0].set_ylabel("loss on the labels (nats)")
        handles = [
            Line2D([], [], color=OTHER, marker="o", markerfacecolor="white", linestyle="--", label="training"),
            Line2D([], [], color=OTHER, marker="o", label="validation"),
            Patch(color=OTHER, alpha=0.15, label="gap"),
        ]
        figure.legend(handles=handles, loc="lower center", ncols=3)
    return figure


def _draw_curves(axis: Axes, training: np.ndarray, validation: np.ndarray, shade: str) -> None:
    epochs = np.arange(1, len(training) + 1)
    shape = "o" if len(epochs) <= MARKED_EPOCHS else ""
    axis.plot(epochs, training, color=shade, linestyle="--", marker=shape, markersize=5, markerfacecolor="white")
    axis.plot(epochs, validation, color=shade, marker=shape, markersize=5)
    axis.fill_between(epochs, training, validation, color=shade, alpha=0.15)
    axis.set_xlim(0.5, len(epochs) + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axis.yaxis.set_major_locator(MaxNLocator(6))


def omitted_classes(omitted: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> Figure:
    """Draw the accuracy on the classes that students never saw, as they are and with a bias tuned on validation.

    Args:
        omitted: by role of the students, `accuracy` and `accuracy_corrected`, 0 to 1.
        names: of the omitted classes.
    """
    variants = {"accuracy": ("as it is", None), "accuracy_corrected": ("bias tuned on validation", "///")}
    with own_style(names) as labels:
        figure = new_figure((5.2, 2.2), left=0.6, bottom=0.8, top=0.6, title="Classes that the students never saw")
        axis = figure.subplots()
        for number, (key, (_, hatch)) in enumerate(variants.items()):
            bars = axis.bar(
                np.arange(len(omitted)) + 0.4 * number - 0.2,
                [100 * values[key] for values in omitted.values()],
                width=0.38,
                color=[colour(role) for role in omitted],
                edgecolor="white",
                hatch=hatch,
            )
            axis.bar_label(bars, fmt="{:.1f}", padding=3, fontsize=8)
        axis.set_xticks(range(len(omitted)), list(omitted), fontsize=9)
        axis.set_ylim(0, 110)  # room for the number above a full bar
        axis.set_yticks(range(0, 101, 20))
        axis.grid(axis="x", visible=False)
        axis.set(xlabel=annotated("", labels), ylabel="accuracy on the test set (%)")
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        axis.set_title(", ".join(labels.names[:4]) + more)
        handles = [
            Patch(facecolor=FAINT, edgecolor="white", hatch=hatch, label=label) for label, hatch in variants.values()
        ]
        figure.legend(handles=handles, loc="lower center", ncols=2)
    return figure
