"""Figures for people. Each function takes plain arrays and returns a matplotlib figure; `save_figure` writes it."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen is needed

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from distillery.data.files import written_whole

# Okabe & Ito's palette, told apart by people with any colour vision; one colour a model in every figure.
COLOURS = {"teacher": "#0072B2", "distilled": "#D55E00", "scratch": "#009E73"}
GAIN, LOSS = "#0072B2", "#D55E00"
HEAT = "cividis"
READABLE_CLASSES = 30  # with more, labels and numbers in a confusion matrix give way to colour
DPI = 110

plt.style.use("seaborn-v0_8-whitegrid")  # seaborn's look; importing seaborn itself costs every stage two seconds
plt.rcParams |= {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "axes.titleweight": "bold",
    "figure.titleweight": "bold",
    "legend.frameon": True,
}


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a PNG whose bytes depend on the picture alone, and free the figure."""
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)


def training_curves(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Accuracy and loss over the epochs on training and validation images; the gap between them is overfitting.

    Args:
        curves: by model, the columns `accuracy`, `val_accuracy`, `loss` (and `hard_loss`), `val_loss`, one value an
            epoch.
    """
    figure, axes = plt.subplots(
        2, len(curves), figsize=(4.4 * len(curves), 6.6), squeeze=False, sharey="row", layout="constrained"
    )
    for column, (model, history) in enumerate(curves.items()):
        epochs = np.arange(1, len(history["loss"]) + 1)
        for row, (quantity, scale) in enumerate((("accuracy", 100), ("loss", 1))):
            axis = axes[row, column]
            # A distiller's loss is a mixture; its hard loss is the one that validation measures too.
            measured = "hard_loss" if quantity == "loss" and "hard_loss" in history else quantity
            training, validation = scale * np.asarray(history[measured]), scale * np.asarray(history[f"val_{quantity}"])
            colour = COLOURS.get(model, "#000000")
            axis.plot(epochs, training, "--", color=colour, label="training")
            axis.plot(epochs, validation, "-o", color=colour, markersize=4, label="validation")
            axis.fill_between(epochs, training, validation, color=colour, alpha=0.15, label="gap")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.legend(loc="best")
        gap = 100 * (history["accuracy"][-1] - history["val_accuracy"][-1])
        axes[0, column].set_title(f"{model}\ngap at the end: {gap:+.2f} points")
        axes[1, column].set_xlabel("epoch")
    axes[0, 0].set_ylabel("accuracy (%)")
    axes[1, 0].set_ylabel("loss of the labels (nats)")
    figure.suptitle("Training: augmentation and dropout act on the training side only")
    return figure


def confusion_matrix(confusion: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """One confusion matrix, coloured by the part of each class, with counts where they can be read.

    Args:
        confusion: int, (classes, classes), row the label.
        classes: names.
        title: the title.
    """
    side = max(5.5, min(0.42 * len(classes) + 2.5, 14))
    figure, axis = plt.subplots(figsize=(side + 0.9, side), layout="constrained")
    _draw_confusion(axis, confusion, classes, top=float(_error_parts(confusion).max()))
    axis.set_title(title)
    return figure


def confusion_matrices(confusions: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """The confusion matrices of several models side by side, on one colour scale.

    Args:
        confusions: by model, int, (classes, classes), row the label.
        classes: names.
    """
    side = max(5.0, min(0.38 * len(classes) + 2.0, 11))
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


def _error_parts(confusion: np.ndarray) -> np.ma.MaskedArray:
    """Percent of each label's images that went to each wrong class; the diagonal is masked.

    A good classifier's diagonal would leave nothing of the errors to see: the scale is theirs, the diagonal grey.
    """
    images = confusion.sum(axis=1, keepdims=True)
    parts = 100 * np.divide(confusion, images, out=np.zeros(confusion.shape), where=images > 0)
    return np.ma.masked_array(parts, np.eye(len(confusion), dtype=bool))


def _draw_confusion(axis: plt.Axes, confusion: np.ndarray, classes: Sequence[str], top: float) -> None:
    errors = _error_parts(confusion)
    colours = matplotlib.colormaps[HEAT].with_extremes(bad="#E8E8E8")
    image = axis.imshow(errors, cmap=colours, vmin=0, vmax=max(top, 0.1))
    axis.figure.colorbar(image, ax=axis, label="part of the true class (%)", shrink=0.8)
    axis.grid(False)
    if len(classes) <= READABLE_CLASSES:
        middle = image.norm.vmax / 2
        for row, column in np.argwhere(confusion > 0):
            dark = row != column and errors[row, column] < middle
            axis.text(
                column,
                row,
                f"{confusion[row, column]}",
                ha="center",
                va="center",
                fontsize=9 if len(classes) <= 12 else 6,
                color="white" if dark else "black",
            )
    _class_ticks(axis.xaxis, classes)
    _class_ticks(axis.yaxis, classes)
    if max(len(name) for name in classes) > 2:
        axis.tick_params(axis="x", rotation=90)
    axis.set_xlabel("prediction")
    axis.set_ylabel("label")


def _class_ticks(axis, classes: Sequence[str]) -> None:
    """Every class named while there is room, every so many of them beyond."""
    step = 1 if len(classes) <= 60 else int(np.ceil(len(classes) / 40))
    axis.set_ticks(range(0, len(classes), step), [_short(classes[i]) for i in range(0, len(classes), step)])
    if len(classes) > READABLE_CLASSES:
        axis.set_tick_params(labelsize=6)


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"


def per_class_accuracy(
    accuracy: Mapping[str, Sequence[float]], classes: Sequence[str], where: str = "test set"
) -> Figure:
    """Accuracy of each class for each model, as dots on one line a class; the hardest class on top.

    Args:
        accuracy: by model, one value a class, 0 to 1; a class without images, NaN for every model, is not drawn.
        classes: names.
        where: on which images.
    """
    drawn = ~np.all(np.isnan(list(accuracy.values())), axis=0)
    classes = [name for name, is_drawn in zip(classes, drawn, strict=True) if is_drawn]
    values = {model: 100 * np.asarray(value, dtype=float)[drawn] for model, value in accuracy.items()}
    order = np.argsort(np.nanmean(np.stack(list(values.values())), axis=0), kind="stable")[::-1]
    figure, axis = plt.subplots(figsize=(8, _height(len(classes))), layout="constrained")
    rows = np.arange(len(classes))
    stacked = np.stack([value[order] for value in values.values()])
    axis.hlines(rows, np.nanmin(stacked, axis=0), np.nanmax(stacked, axis=0), color="#BBBBBB", linewidth=1.5, zorder=1)
    for (model, value), marker in zip(values.items(), "osD^v", strict=False):
        size = 45 if len(classes) <= READABLE_CLASSES else 12
        axis.scatter(
            value[order], rows, color=COLOURS.get(model, "#000000"), marker=marker, s=size, label=model, zorder=2
        )
    axis.set_yticks(rows, [_short(classes[i]) for i in order], fontsize=_font(len(classes)))
    axis.set_ylim(-0.7, len(classes) - 0.3)
    axis.set_xlabel(f"accuracy on the {where} (%)")
    axis.set_ylabel("class")
    axis.set_title(f"Accuracy by class, {where}")
    axis.legend(loc="lower left")
    return figure


def per_class_gain(gain: Sequence[float], classes: Sequence[str]) -> Figure:
    """What distilling gained in each class over training from scratch, sorted.

    Args:
        gain: percentage points, one value a class.
        classes: names.
    """
    gain = np.nan_to_num(np.asarray(gain, dtype=float)) + 0.0  # no gain is 0, never -0
    order = np.argsort(gain, kind="stable")
    figure, axis = plt.subplots(figsize=(8, _height(len(classes))), layout="constrained")
    rows = np.arange(len(classes))
    bars = axis.barh(rows, gain[order], color=[GAIN if value >= 0 else LOSS for value in gain[order]])
    if len(classes) <= READABLE_CLASSES:
        axis.bar_label(bars, [f"{value:+.2f}" for value in gain[order]], padding=3, fontsize=10)
        axis.margins(x=0.12)
    axis.axvline(0, color="black", linewidth=1)
    axis.set_yticks(rows, [_short(classes[i]) for i in order], fontsize=_font(len(classes)))
    axis.set_ylim(-0.7, len(classes) - 0.3)
    axis.set_xlabel("accuracy gained on the test set (percentage points): better to the right, worse to the left")
    axis.set_ylabel("class")
    axis.set_title("What distilling gained over training from scratch, by class")
    return figure


def _height(classes: int) -> float:
    return float(np.clip(0.42 * classes + 1.6, 3.5, 16))


def _font(classes: int) -> float:
    return 10 if classes <= READABLE_CLASSES else float(np.clip(700 / classes, 4, 9))


def comparison(
    accuracy: Mapping[str, float],
    accuracy_std: Mapping[str, float],
    parameters: Mapping[str, int],
    kilobytes: Mapping[str, float],
    milliseconds: Mapping[str, float] | None = None,
) -> Figure:
    """Accuracy, parameters, bytes and latency of the models, a panel each.

    Args:
        accuracy: by model, 0 to 1.
        accuracy_std: by model, the spread over seeds, 0 to 1; absent for a single model.
        parameters: by model.
        kilobytes: by model, the file's size in kB.
        milliseconds: by model, the median latency of one image; left out of a figure that must not vary.
    """
    panels = [
        ("accuracy on the test set (%)", {m: 100 * v for m, v in accuracy.items()}, "{:.2f}"),
        ("parameters", parameters, "{:,.0f}"),
        ("file size (kB)", kilobytes, "{:,.0f}"),
    ]
    if milliseconds is not None:
        panels.append(("latency of one image (ms, median)", milliseconds, "{:.2f}"))
    figure, axes = plt.subplots(1, len(panels), figsize=(4.0 * len(panels), 4.2), layout="constrained")
    for axis, (title, values, form) in zip(axes, panels, strict=True):
        spread = [100 * accuracy_std.get(model, 0) if values is panels[0][1] else 0 for model in values]
        bars = axis.bar(
            list(values),
            list(values.values()),
            yerr=spread if any(spread) else None,
            capsize=6,
            color=[COLOURS.get(model, "#777777") for model in values],
        )
        axis.bar_label(bars, [form.format(value) for value in values.values()], padding=6)
        axis.set_title(title)
        axis.margins(y=0.15)
        axis.grid(axis="x", visible=False)
    low, high = min(panels[0][1].values()), max(panels[0][1].values())
    room = max(high - low, 0.2)
    axes[0].set_ylim(max(0, low - 1.5 * room), high + room)
    axes[0].set_xlabel("the axis does not start at 0; whiskers: ± one standard deviation over seeds", fontsize=8)
    figure.suptitle("What the student costs and saves")
    return figure


def omitted_classes(omitted: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> Figure:
    """Accuracy on the classes that students never saw, as they are and with a bias tuned on validation.

    Args:
        omitted: by kind of student, `accuracy` and `accuracy_corrected`, 0 to 1.
        names: of the omitted classes.
    """
    figure, axis = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    kinds, width = list(omitted), 0.38
    for number, (key, label, hatch) in enumerate(
        (("accuracy", "as it is", None), ("accuracy_corrected", "bias tuned on validation", "//"))
    ):
        bars = axis.bar(
            np.arange(len(kinds)) + (number - 0.5) * width,
            [100 * omitted[kind][key] for kind in kinds],
            width,
            label=label,
            color=[COLOURS[kind] for kind in kinds],
            hatch=hatch,
            edgecolor="white",
        )
        axis.bar_label(bars, fmt="{:.1f}", padding=3)
    axis.set_xticks(range(len(kinds)), kinds)
    axis.set_ylim(0, 110)
    axis.set_ylabel("accuracy on the test set (%)")
    axis.grid(axis="x", visible=False)
    axis.legend(loc="upper right")
    shown = ", ".join(_short(name) for name in names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    axis.set_title(f"Classes that the students never saw: {shown}")
    return figure


def sheet(
    images: np.ndarray,
    labels: Sequence[int],
    probabilities: Mapping[str, np.ndarray],
    classes: Sequence[str],
    shown: int = 3,
) -> Figure:
    """A sheet of images with the label and every model's most probable classes.

    Args:
        images: uint8, (n, height, width, channels).
        labels: (n,).
        probabilities: by model, (n, classes).
        classes: names.
        shown: how many classes a model's bars show.
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
    figure.suptitle("Test images, the instructive first: teacher right and student wrong, disagreements, least sure")
    return figure


def sample_sheet(images: np.ndarray, labels: Sequence[int], classes: Sequence[str], title: str) -> Figure:
    """A grid of images under their labels.

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
    """Images of each class in each part of the data set.

    Args:
        counts: by part (train, validation, test), one value a class.
        classes: names.
    """
    figure, axis = plt.subplots(figsize=(8, _height(len(classes))), layout="constrained")
    left = np.zeros(len(classes))
    rows = np.arange(len(classes))
    for (part, values), colour in zip(counts.items(), ("#0072B2", "#E69F00", "#999999"), strict=False):
        axis.barh(rows, values, left=left, color=colour, label=part)
        left += values
    axis.set_yticks(rows, [_short(name) for name in classes], fontsize=_font(len(classes)))
    axis.set_ylim(len(classes) - 0.3, -0.7)
    axis.set_xlabel("images")
    axis.set_ylabel("class")
    axis.set_title("Images of each class")
    axis.legend(loc="lower right")
    return figure
