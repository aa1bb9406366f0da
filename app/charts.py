"""Charts and headings: one colour per role, the same as in the pipeline's figures."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from distillery.evaluation.roles import ROLES

# Of `distillery.figures`, which imports Matplotlib: a second before the first page.
COLOURS = {"teacher": "#0072B2", "distilled": "#D55E00", "scratch": "#009E73"}
NAMES = {"teacher": "Teacher", "distilled": "Distilled student", "scratch": "Scratch student"}
BAR_HEIGHT = 30


def icon() -> Image.Image:
    """Return three bars in the roles' colours, for the browser's tab: Streamlit takes its icons from the internet."""
    picture = np.full((32, 32, 3), 255, np.uint8)
    for number, (role, height) in enumerate(zip(ROLES, (32, 26, 20), strict=True)):
        picture[32 - height :, 11 * number : 11 * number + 10] = list(bytes.fromhex(COLOURS[role][1:]))
    return Image.fromarray(picture)


def model_heading(role: str, note: str) -> None:
    """Draw a model's name under a line of its colour, and a note."""
    st.html(
        f'<div style="border-top: 5px solid {COLOURS[role]}; padding-top: 6px">'
        f'<span style="font-size: 1.25rem; font-weight: 600; color: {COLOURS[role]}">{NAMES[role]}</span><br>'
        f'<span style="color: #555; font-size: 0.9rem">{note}</span></div>'
    )


def legend(roles: Sequence[str]) -> str:
    """Return the models' names beside their colours, in HTML."""
    return "".join(
        f'<span style="margin-right: 1.5rem"><span style="color: {COLOURS[role]}">■</span> {NAMES[role]}</span>'
        for role in roles
    )


def model_colour(roles: Sequence[str]) -> alt.Color:
    """Return the colour channel of a column `Model` that holds models' names."""
    return alt.Color(
        "Model:N",
        scale=alt.Scale(domain=[NAMES[role] for role in roles], range=[COLOURS[role] for role in roles]),
        legend=alt.Legend(orient="top", title=None, labelLimit=300, symbolSize=140),
    )


def probability_bars(role: str, probabilities: np.ndarray, names: Sequence[str]) -> alt.LayerChart:
    """Draw one bar per class; the most probable class in full colour.

    Args:
        role: of the model.
        probabilities: (shown classes,), 0 to 1.
        names: of these classes, in the order in which they are drawn.
    """
    # Positions, not names, tell the bars apart: two long names may be cut to the same one.
    rows = pd.DataFrame(
        {
            "position": range(len(names)),
            "class": list(names),
            "probability": 100 * probabilities,
            "text": [percent(value) for value in probabilities],
            "best": probabilities == probabilities.max(),
        }
    )
    names_by_position = "[" + ",".join(_javascript(name) for name in names) + "][datum.value]"
    bars = alt.Chart(rows).encode(
        y=alt.Y(
            "position:O",
            title=None,
            axis=alt.Axis(labelExpr=names_by_position, labelLimit=110, labelFontSize=13, ticks=False, domain=False),
        ),
        x=alt.X(
            "probability:Q",
            title="probability (%)",
            scale=alt.Scale(domain=[0, 122], nice=False),  # room for the number beside a full bar
            axis=alt.Axis(values=[0, 25, 50, 75, 100], grid=True),
        ),
        tooltip=[alt.Tooltip("class:N"), alt.Tooltip("text:N", title="probability")],
    )
    opacity = alt.condition("datum.best", alt.value(1.0), alt.value(0.5))
    return alt.layer(
        bars.mark_bar(color=COLOURS[role], height={"band": 0.75}).encode(opacity=opacity),
        bars.mark_text(align="left", dx=5, fontSize=12, color="#333333").encode(text="text:N"),
    ).properties(height=BAR_HEIGHT * len(names) + 40)


def _javascript(text: str) -> str:
    """Return a string literal of Vega's expression language, whatever is in the text."""
    return "'" + "".join(c if c.isalnum() else f"\\u{ord(c):04x}" if ord(c) < 65536 else c for c in text) + "'"


def percent(value: float) -> str:
    """Return a probability as text: none but 0 is called 0 %, and none but 1 is called 100 %."""
    if 0 < value < 1e-4:
        return "< 0.01 %"
    if 0.9999 < value < 1:
        return "> 99.99 %"
    return f"{100 * value:.2f} %" if value < 0.1 or value > 0.99 else f"{100 * value:.1f} %"


def accuracy_intervals(accuracies: Mapping[str, tuple[float, float, float]]) -> alt.LayerChart:
    """Draw accuracies as points with their confidence intervals.

    Args:
        accuracies: by role, accuracy, low and high end of the interval, 0 to 1.
    """
    rows = pd.DataFrame(
        [
            {"Model": NAMES[role], "accuracy": 100 * accuracy, "low": 100 * low, "high": 100 * high}
            for role, (accuracy, low, high) in accuracies.items()
        ]
    )
    base = alt.Chart(rows).encode(
        y=alt.Y("Model:N", sort=None, title=None, axis=alt.Axis(labelLimit=200, labelFontSize=13)),
        color=model_colour(list(accuracies)).legend(None),
        tooltip=[
            "Model:N",
            alt.Tooltip("accuracy:Q", format=".2f", title="accuracy (%)"),
            alt.Tooltip("low:Q", format=".2f", title="95 % interval from"),
            alt.Tooltip("high:Q", format=".2f", title="to"),
        ],
    )
    title = "accuracy on the test set (%), with its 95 % interval; the axis does not start at 0"
    scale = alt.Scale(zero=False, padding=25)
    return alt.layer(
        base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", scale=scale, title=title), x2="high:Q"),
        base.mark_point(filled=True, size=140, opacity=1).encode(x=alt.X("accuracy:Q", scale=scale, title=title)),
    ).properties(height=200)


def parameters_and_accuracy(points: pd.DataFrame) -> alt.Chart:
    """Draw the accuracy of every experiment's models over their number of parameters.

    Args:
        points: columns `Model`, `Parameters`, `Accuracy (%)`, `Experiment`, `Temperature`, `Alpha`.
    """
    return (
        alt.Chart(points)
        .mark_point(filled=True, size=110, opacity=0.75, stroke="white", strokeWidth=1)
        .encode(
            x=alt.X(
                "Parameters:Q",
                scale=alt.Scale(type="log", padding=40, nice=False),
                axis=alt.Axis(format="~s", labelOverlap=True, tickCount=6),
                title="parameters (logarithmic)",
            ),
            y=alt.Y(
                "Accuracy \\(%\\):Q", scale=alt.Scale(zero=False, padding=20), title="accuracy on the test set (%)"
            ),
            color=model_colour(ROLES),
            shape=alt.Shape(
                "Model:N",
                scale=alt.Scale(domain=[NAMES[role] for role in ROLES], range=["circle", "square", "diamond"]),
            ),
            tooltip=[
                "Experiment:N",
                "Model:N",
                alt.Tooltip("Accuracy \\(%\\):Q", format=".2f"),
                alt.Tooltip("Parameters:Q", format=","),
                "Temperature:Q",
                "Alpha:Q",
            ],
        )
        .properties(height=380)
    )


def speed(rows: pd.DataFrame, roles: Sequence[str]) -> alt.LayerChart:
    """Draw images per second, one bar per model.

    Args:
        rows: columns `Model`, `Images per second`, `Milliseconds`.
        roles: of the models.
    """
    base = alt.Chart(rows).encode(
        x=alt.X("Model:N", sort=[NAMES[role] for role in roles], title=None, axis=alt.Axis(labels=False, ticks=False)),
        y=alt.Y("Images per second:Q", title="images per second", axis=alt.Axis(format="~s")),
        color=model_colour(roles).legend(None),
        tooltip=[
            "Model:N",
            alt.Tooltip("Images per second:Q", format=",.0f"),
            alt.Tooltip("Milliseconds:Q", format=",.2f"),
        ],
    )
    text = base.mark_text(dy=-9, fontSize=13).encode(text=alt.Text("Images per second:Q", format=",.0f"))
    return alt.layer(base.mark_bar(), text).properties(height=280)
