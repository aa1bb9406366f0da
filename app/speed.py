"""Speed: how fast the models predict, measured now, on this machine."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from app import cache, charts, predictions, sidebar
from app.cache import LoadedModel
from app.charts import NAMES
from distillery.timing import measure_alternating, median_and_spread

BATCHES = (1, 10, 100, 1000)
VALUES = 8_000_000  # in one batch of images, channels counted; what a network makes of it takes many times the memory


def show_page() -> None:
    """Draw the page."""
    st.title("How fast do they predict?")
    models = sidebar.usable_models()
    if not models:
        return
    st.markdown(
        "Measured here and now. In every round each model predicts once, in turn, so that whatever else this machine "
        "does disturbs all of them alike."
    )
    shape = next(iter(models.values())).image_shape
    possible = [batch for batch in BATCHES if batch == 1 or batch * int(np.prod(shape)) <= VALUES]
    with st.form("speed"):
        left, middle, right = st.columns([2, 2, 1])
        chosen = left.multiselect("Models", list(models), default=list(models), format_func=NAMES.get)
        batches = middle.multiselect(
            "Images at once", possible, default=[batch for batch in (1, 100, 1000) if batch in possible]
        )
        rounds = right.slider("Rounds", 3, 50, 15)
        pressed = st.form_submit_button("Measure", type="primary", icon=":material/timer:")
    if len(possible) < len(BATCHES):
        st.caption(f"Images of {shape[0]} × {shape[1]} pixels: more than {possible[-1]} at once may not fit in memory.")
    if not pressed:
        return
    if not chosen or not batches:
        st.warning("Choose at least one model and one number of images.")
        return
    measured = measure({role: models[role] for role in chosen}, sorted(batches), rounds)
    show_result(measured, chosen)


def measure(models: dict[str, LoadedModel], batches: Sequence[int], rounds: int) -> pd.DataFrame:
    """Return how fast the models predict.

    Args:
        models: by role.
        batches: numbers of images at once.
        rounds: how often each is timed.

    Returns:
        One row per model and batch: median and quartiles of the milliseconds, images per second.
    """
    test, _ = cache.test_split()
    shape = next(iter(models.values())).image_shape
    if test is None or test.images.shape[1:] != shape:
        images = np.random.default_rng(0).integers(256, size=(max(batches), *shape), dtype=np.uint8)
        st.caption("There are no test images of the models' shape: measured on noise, which takes them as long.")
    else:
        images = np.asarray(test.images[: max(batches)])
    rows = []
    with predictions.ONE_AT_A_TIME:
        progress = st.progress(0.0, "Measuring…")
        for number, batch in enumerate(batches):
            progress.progress(number / len(batches), f"Measuring {batch:,} at once…")
            shown = np.resize(images, (batch, *shape))  # few test images are shown again and again
            seconds = measure_alternating(
                {role: partial(model.model.predict_on_batch, shown) for role, model in models.items()},
                rounds,
            )
            for role in models:
                spread = median_and_spread(1000 * seconds[role])
                rows.append(
                    {
                        "Model": NAMES[role],
                        "Images at once": batch,
                        "Milliseconds": spread["median"],
                        "Quartile low": spread["quartile_low"],
                        "Quartile high": spread["quartile_high"],
                        "Images per second": round(1000 * batch / spread["median"]),
                        "Against teacher": np.median(seconds["teacher"]) / np.median(seconds[role])
                        if "teacher" in models
                        else None,
                    }
                )
        progress.empty()
    return pd.DataFrame(rows)


def show_result(measured: pd.DataFrame, roles: Sequence[str]) -> None:
    """Show the measurement as charts and as a table."""
    batches = measured["Images at once"].unique()
    for batch, column in zip(batches, st.columns(len(batches)), strict=True):  # one scale each: they are far apart
        with column:
            st.markdown(f"**{batch:,} at once**" if batch > 1 else "**One image**")
            st.altair_chart(charts.speed(measured[measured["Images at once"] == batch], roles))
    st.html(charts.legend(roles))
    number = st.column_config.NumberColumn
    st.dataframe(
        measured,
        hide_index=True,
        column_config={
            "Images at once": number(format="localized"),
            "Milliseconds": number(format="%.2f", help="median over the rounds"),
            "Quartile low": number(format="%.2f", help="milliseconds"),
            "Quartile high": number(format="%.2f", help="milliseconds"),
            "Images per second": number(format="localized"),
            "Against teacher": number(format="%.2f ×", help="how many times as fast as the teacher"),
        },
    )
    st.caption(
        "On one image the call itself, Keras's `predict_on_batch`, takes most of the time and hides the difference "
        "between small models; on many images it shows."
    )


show_page()
