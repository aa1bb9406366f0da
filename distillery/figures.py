"""Figures for people. Each function takes plain arrays and returns a matplotlib figure; `save_figure` writes it."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen is needed

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, StrMethodFormatter

from distillery.data.files import atomic_write
from distillery.evaluation.instructive import ImageSheet
from distillery.evaluation.results import Evaluation
from distillery.learning.metrics import confusion_matrix as count_confusions

# Okabe & Ito's palette, told apart by people with any colour vision; one colour per role in every figure.
COLOURS = {"teacher": "#0072B2", "distilled": "#D55E00", "scratch": "#009E73"}
OTHER = "#555555"  # of a model that has no role
GAIN, LOSS = "#0072B2", "#D55E00"
HEAT = "cividis"
CORRECT = "#E8E8E8"  # of a confusion matrix's diagonal
READABLE_CLASSES = 30  # with more, the numbers in a confusion matrix give way to colour
DPI = 110

sns.set_theme(
    style="whitegrid",
    font="DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    font_scale=0.9,
    rc={"axes.titleweight": "bold", "figure.titleweight": "bold", "legend.frameon": True, "patch.edgecolor": "none"},
)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a PNG whose bytes depend on the picture alone, and free the figure."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)


def evaluation_figures(
    evaluation: Evaluation, costs: Mapping[str, Mapping[str, float]], sheet_images: ImageSheet
) -> Iterator[tuple[str, Figure]]:
    """Draw every figure of an evaluation, one after the other.

    Args:
        evaluation: what the test set shows.
        costs: the arguments of `comparison`.
        sheet_images: the images of the sheet.

    Yields:
        Its name, and the figure.
    """
    classes, accuracy = evaluation.classes, evaluation.class_accuracy
    confusions = {
        role: count_confusions(evaluation.labels, predicted, len(classes))
        for role, predicted in evaluation.predicted.items()
    }
    yield "comparison", comparison(**costs)
    yield "training_curves", training_curves(evaluation.curves)
    yield "confusion_matrices", confusion_matrices(confusions, classes)
    yield "per_class_accuracy", per_class_accuracy(accuracy, classes)
    yield "per_class_gain", per_class_gain(100 * (accuracy["distilled"] - accuracy["scratch"]), classes)
    yield (
        "instructive_images",
        sheet(sheet_images.images, sheet_images.labels, sheet_images.probabilities, classes),
    )
    if evaluation.omitted_classes:
        yield "omitted_classes", omitted_classes(evaluation.headline["omitted"], evaluation.omitted_classes)


def training_curves(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw accuracy and loss over the epochs on training and validation images; the gap between them is overfitting.

    Args:
        curves: by model, the columns `accuracy`, `val_accuracy`, `loss` (and `hard_loss`), `val_loss`, one value per
            epoch.
    """
    figure, axes = plt.subplots(
        2, len(curves), figsize=(max(4.4 * len(curves), 6), 6.6), squeeze=False, sharey="row", layout="constrained"
    )
    for column, (model, history) in enumerate(curves.items()):
        colour = COLOURS.get(model, OTHER)
        accuracy = [100 * np.asarray(history[name]) for name in ("accuracy", "val_accuracy")]
        # A distiller's loss is a mixture; its hard loss is the one that validation measures too.
        loss = [np.asarray(history["hard_loss" if "hard_loss" in history else "loss"]), np.asarray(history["val_loss"])]
        _draw_curves(axes[0, column], *accuracy, colour)
        _draw_curves(axes[1, column], *loss, colour)
        gap = float(accuracy[0][-1] - accuracy[1][-1])
        axes[0, column].set_title(f"{model}\ngap at the end: {gap:+.2f} points")
        axes[1, column].set_xlabel("epoch")
    axes[0, 0].set_ylabel("accuracy (%)")
    axes[1, 0].set_ylabel("loss on the labels (nats)")
    title = "Training: augmentation and dropout act on the training side only"
    figure.suptitle(textwrap.fill(title, 45 * len(curves)))
    return figure


def _draw_curves(axis: plt.Axes, training: np.ndarray, validation: np.ndarray, colour: str) -> None:
    epochs = np.arange(1, len(training) + 1)
    markers = {"markersize": 5, "markeredgecolor": colour, "color": colour, "ax": axis}
    sns.lineplot(x=epochs, y=training, linestyle="--", marker="o", markerfacecolor="white", label="training", **markers)
    sns.lineplot(x=epochs, y=validation, marker="o", markerfacecolor=colour, label="validation", **markers)
    axis.fill_between(epochs, training, validation, color=colour, alpha=0.15, label="gap")
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True) if len(epochs) > 1 else FixedLocator([1]))
    axis.legend(loc="best")


def confusion_matrix(confusion: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draw one confusion matrix, coloured by the part of each class, with counts where they can be read.

    Args:
        confusion: int, (classes, classes), row the label.
        classes: names.
        title: the title.
    """
    side = _side(len(classes))
    figure, axis = plt.subplots(figsize=(side + 0.9, side), layout="constrained")
    _draw_confusion(axis, confusion, classes, top=float(_error_parts(confusion).max()))
    axis.set_title(title)
    return figure


def confusion_matrices(confusions: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """Draw the confusion matrices of several models side by side, on one colour scale.

    Args:
        confusions: by model, int, (classes, classes), row the label.
        classes: names.
    """
    side = _side(len(classes))
    figure, axes = plt.subplots(
        1, len(confusions), figsize=(side * len(confusions), side), squeeze=False, layout="constrained"
    )
    top = max(float(_error_parts(confusion).max()) for confusion in confusions.values())
    for axis, (model, confusion) in zip(axes[0], confusions.items(), strict=True):
        _draw_confusion(axis, confusion, classes, top)
        errors = int(confusion.sum() - np.trace(confusion))
        axis.set_title(f"{model}: {errors:,} of {int(confusion.sum()):,} wrong")
    figure.suptitle("Confusion on the test set: colour is the part of each true class, one scale for all")
    return figure


def _side(classes: int) -> float:
    """Return the side of a confusion matrix in inches."""
    return float(np.clip(0.4 * classes + 2.2, 5.2, 12))


def _error_parts(confusion: np.ndarray) -> np.ndarray:
    """Return the percentage of each label's images that went to each wrong class; 0 on the diagonal."""
    images = confusion.sum(axis=1, keepdims=True)
    parts = 100 * np.divide(confusion, images, out=np.zeros(confusion.shape), where=images > 0)
    np.fill_diagonal(parts, 0)
    return parts


def _draw_confusion(axis: plt.Axes, confusion: np.ndarray, classes: Sequence[str], top: float) -> None:
    """Draw the errors in colour and the diagonal in grey: beside a good classifier's diagonal, errors look alike."""
    readable, correct = len(classes) <= READABLE_CLASSES, np.eye(len(classes), dtype=bool)
    counts = np.where(confusion > 0, confusion.astype(str), "") if readable else None
    shared = {
        "ax": axis,
        "annot": counts if readable else False,
        "fmt": "",
        "annot_kws": {"fontsize": 9 if len(classes) <= 12 else 6},
        "square": True,
        "xticklabels": False,
        "yticklabels": False,
    }
    scale = {"vmin": 0, "vmax": max(top, 0.1), "cmap": HEAT}
    bar = {"label": "part of the true class (%)", "shrink": 0.8}
    sns.heatmap(_error_parts(confusion), mask=correct, cbar_kws=bar, **scale, **shared)
    sns.heatmap(np.zeros(confusion.shape), mask=~correct, cbar=False, cmap=ListedColormap([CORRECT]), **shared)
    _class_ticks(axis.xaxis, classes)
    _class_ticks(axis.yaxis, classes)
    axis.tick_params(axis="x", rotation=90 if max(len(name) for name in classes) > 2 else 0)
    axis.set_xlabel("prediction")
    axis.set_ylabel("label")


def _class_ticks(axis: Axis, classes: Sequence[str]) -> None:
    """Name every class while there is room, every so many of them beyond."""
    step = 1 if len(classes) <= 60 else int(np.ceil(len(classes) / 40))
    numbers = range(0, len(classes), step)
    axis.set_ticks([number + 0.5 for number in numbers], [_short(classes[number]) for number in numbers])
    if len(classes) > READABLE_CLASSES:
        axis.set_tick_params(labelsize=6)


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"


def per_class_accuracy(
    accuracy: Mapping[str, Sequence[float]], classes: Sequence[str], where: str = "test set"
) -> Figure:
    """Draw the accuracy per class of each model, as dots on one line per class; the hardest class on top.

    Args:
        accuracy: by model, one value per class, 0 to 1; a class without images, NaN for every model, is not drawn.
        classes: names.
        where: on which images.
    """
    drawn = ~np.all(np.isnan(list(accuracy.values())), axis=0)
    classes = [name for name, is_drawn in zip(classes, drawn, strict=True) if is_drawn]
    values = np.stack([100 * np.asarray(value, dtype=float)[drawn] for value in accuracy.values()])
    order = np.argsort(np.nanmean(values, axis=0), kind="stable")[::-1]
    values = values[:, order]
    figure, axis = plt.subplots(figsize=(8, _height(len(classes))), layout="constrained")
    rows = np.arange(len(classes))
    axis.hlines(rows, np.nanmin(values, axis=0), np.nanmax(values, axis=0), color="#BBBBBB", linewidth=1.5, zorder=1)
    models = np.repeat(list(accuracy), len(classes))
    sns.scatterplot(
        x=values.ravel(),
        y=np.tile(rows, len(accuracy)),
        hue=models,
        style=models,
        palette=[COLOURS.get(model, OTHER) for model in accuracy],
        markers=list("osD^v")[: len(accuracy)],
        s=45 if len(classes) <= READABLE_CLASSES else 14,
        zorder=2,
        ax=axis,
    )
    _class_rows(axis, [classes[number] for number in order])
    axis.set_xlabel(f"accuracy on the {where} (%)")
    axis.set_title(f"Accuracy per class, {where}")
    axis.legend(loc="lower left")
    return figure


def per_class_gain(gain: Sequence[float], classes: Sequence[str]) -> Figure:
    """Draw what distillation gained in each class over training from scratch, sorted.

    Args:
        gain: percentage points, one value per class.
        classes: names.
    """
    gain = np.nan_to_num(np.asarray(gain, dtype=float)) + 0.0  # no gain is 0, never -0
    order = np.argsort(gain, kind="stable")
    gain = gain[order]
    figure, axis = plt.subplots(figsize=(8, _height(len(classes))), layout="constrained")
    rows = np.arange(len(classes))
    side = np.where(gain >= 0, "gain", "loss")
    palette = {"gain": GAIN, "loss": LOSS}
    sns.barplot(
        x=gain, y=rows, hue=side, palette=palette, orient="h", saturation=1, errorbar=None, legend=False, ax=axis
    )
    if len(classes) <= READABLE_CLASSES:
        for row, value in zip(rows, gain, strict=True):
            axis.annotate(
                f"{value:+.2f}",
                (value, row),
                xytext=(4 if value >= 0 else -4, 0),
                textcoords="offset points",
                ha="left" if value >= 0 else "right",
                va="center",
            )
        axis.margins(x=0.15)
    axis.axvline(0, color="black", linewidth=1)
    _class_rows(axis, [classes[number] for number in order])
    axis.set_xlabel("accuracy gained on the test set (percentage points)")
    axis.set_title("Gain of distillation over training from scratch, per class")
    return figure


def _class_rows(axis: plt.Axes, classes: Sequence[str]) -> None:
    """Name the classes on the vertical axis, the first at the bottom."""
    size = None if len(classes) <= READABLE_CLASSES else float(np.clip(700 / len(classes), 4, 9))
    axis.set_yticks(range(len(classes)), [_short(name) for name in classes], fontsize=size)
    axis.set_ylim(-0.7, len(classes) - 0.3)
    axis.set_ylabel("class")


def _height(classes: int) -> float:
    return float(np.clip(0.42 * classes + 1.6, 3.5, 16))


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
    percent = {model: 100 * value for model, value in accuracy.items()}
    panels = [("parameters", parameters, "{:,.0f}"), ("file size (kB)", kilobytes, "{:,.0f}")]
    if milliseconds is not None:
        panels.append(("latency of one image (ms, median)", milliseconds, "{:.2f}"))
    figure, axes = plt.subplots(1, 1 + len(panels), figsize=(4.0 * (1 + len(panels)), 4.2), layout="constrained")
    _draw_bars(axes[0], percent, "{:.2f}", {model: 100 * value for model, value in accuracy_std.items()})
    axes[0].set_title("accuracy on the test set (%)")
    for axis, (title, values, form) in zip(axes[1:], panels, strict=True):
        _draw_bars(axis, values, form)
        axis.set_title(title)
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}" if form == "{:,.0f}" else "{x:g}"))
    low, high = min(percent.values()), max(percent.values())
    room = max(high - low, 0.2)
    axes[0].set_ylim(max(0, low - 1.5 * room), high + room)
    axes[0].set_xlabel("the axis does not start at 0; whiskers: ± one standard deviation over seeds", fontsize=8)
    figure.suptitle("What the student costs and saves")
    return figure


def _draw_bars(
    axis: plt.Axes, values: Mapping[str, float], form: str, spread: Mapping[str, float] | None = None
) -> None:
    """Draw one bar per model with its number above the whisker."""
    models, heights = list(values), np.asarray(list(values.values()), dtype=float)
    whiskers = np.asarray([(spread or {}).get(model, 0) for model in models])
    palette = {model: COLOURS.get(model, OTHER) for model in models}
    sns.barplot(
        x=models, y=heights, hue=models, palette=palette, saturation=1, errorbar=None, legend=False, width=0.7, ax=axis
    )
    if whiskers.any():
        has = whiskers > 0
        axis.errorbar(
            np.flatnonzero(has), heights[has], yerr=whiskers[has], fmt="none", ecolor="black", capsize=6, linewidth=1.5
        )
    for place, (height, whisker) in enumerate(zip(heights, whiskers, strict=True)):
        axis.annotate(
            form.format(height), (place, height + whisker), xytext=(0, 4), textcoords="offset points", ha="center"
        )
    axis.margins(y=0.15)


def omitted_classes(omitted: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> Figure:
    """Draw the accuracy on the classes that students never saw, as they are and with a bias tuned on validation.

    Args:
        omitted: by role of the students, `accuracy` and `accuracy_corrected`, 0 to 1.
        names: of the omitted classes.
    """
    figure, axis = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    variants = {"accuracy": "as it is", "accuracy_corrected": "bias tuned on validation"}
    percent = [100 * omitted[role][key] for key in variants for role in omitted]
    labels = np.repeat(list(variants.values()), len(omitted))
    sns.barplot(x=list(omitted) * 2, y=percent, hue=labels, errorbar=None, width=0.76, legend=False, ax=axis)
    for bars, hatch in zip(axis.containers, (None, "//"), strict=True):
        for bar, role in zip(bars, omitted, strict=True):
            bar.set(facecolor=COLOURS[role], edgecolor="white", hatch=hatch)
        axis.bar_label(bars, fmt="{:.1f}", padding=3)
    handles = [
        plt.Rectangle((0, 0), 1, 1, facecolor="#999999", edgecolor="white", hatch=hatch, label=label)
        for label, hatch in zip(variants.values(), (None, "//"), strict=True)
    ]
    axis.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=2, frameon=False)
    axis.set_ylim(0, 110)
    axis.set_ylabel("accuracy on the test set (%)")
    shown = ", ".join(_short(name) for name in names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    axis.set_title(textwrap.fill(f"Classes that the students never saw: {shown}", 70))
    return figure


def sheet(
    images: np.ndarray,
    labels: Sequence[int],
    probabilities: Mapping[str, np.ndarray],
    classes: Sequence[str],
    shown: int = 3,
) -> Figure:
    """Draw a sheet of images with the label and every model's most probable classes.

    Args:
        images: uint8, (n, height, width, channels).
        labels: (n,).
        probabilities: by model, (n, classes).
        classes: names.
        shown: how many classes are shown per model.
    """
    columns = 4
    rows = -(-len(images) // columns)
    figure = plt.figure(figsize=(3.9 * columns, 1.95 * rows + 0.8), layout="constrained")
    grid = figure.add_gridspec(rows, 2 * columns, width_ratios=[1, 1.25] * columns)
    for position, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(position, columns)
        axis = figure.add_subplot(grid[row, 2 * column])
        _draw_image(axis, image)
        axis.set_title(textwrap.fill(f"label: {_short(classes[label])}", 16), fontsize=9)
        bars = figure.add_subplot(grid[row, 2 * column + 1])
        ticks, names = [], []
        for number, (model, values) in enumerate(probabilities.items()):
            best = np.argsort(values[position], kind="stable")[::-1][:shown]
            places = number * (shown + 0.6) + np.arange(len(best))
            bars.barh(places, 100 * values[position][best], color=COLOURS[model], label=model)
            ticks += places.tolist()
            names += [f"{'✓ ' if best_class == label else ''}{_short(classes[best_class])}" for best_class in best]
        bars.set_yticks(ticks, names, fontsize=8)
        bars.invert_yaxis()
        bars.set_xlim(0, 100)
        bars.set_xticks([0, 50, 100], ["0", "50", "100 %"], fontsize=7)
        bars.grid(axis="y", visible=False)
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[model], label=model) for model in probabilities]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.suptitle("Test images, the instructive first: teacher correct and student wrong, disagreements, least sure")
    return figure


def sample_sheet(images: np.ndarray, labels: Sequence[int], classes: Sequence[str], title: str) -> Figure:
    """Draw a grid of images under their labels.

    Args:
        images: uint8, (n, height, width, channels).
        labels: (n,).
        classes: names.
        title: the title.
    """
    columns = 10
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.15 * columns, 1.35 * rows + 0.6), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, label in zip(axes.flat, images, labels, strict=False):
        _draw_image(axis, image)
        axis.set_title(_short(classes[label]), fontsize=9, fontweight="normal")
    figure.suptitle(title)
    return figure


def _draw_image(axis: plt.Axes, image: np.ndarray) -> None:
    axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray_r", vmin=0, vmax=255)
    axis.axis("off")


def class_balance(counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> Figure:
    """Draw the number of images per class in each part of the data set.

    Args:
        counts: by part (train, validation, test), one value per class.
        classes: names.
    """
    figure, axis = plt.subplots(figsize=(8, _height(len(classes))), layout="constrained")
    left = np.zeros(len(classes))
    rows = np.arange(len(classes))
    for (part, values), colour in zip(counts.items(), ("#0072B2", "#E69F00", "#999999"), strict=False):
        axis.barh(rows, values, left=left, color=colour, label=part)
        left += values
    _class_rows(axis, classes)
    axis.invert_yaxis()
    axis.set_xlabel("images")
    axis.set_title("Images per class")
    figure.legend(loc="outside lower center", ncols=len(counts))
    return figure
