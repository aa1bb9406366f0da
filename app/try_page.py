"""Try: draw, pick or upload an image, and see what the three models predict at a chosen temperature."""

import numpy as np
import streamlit as st

from app import cache, charts, predictions, results, sidebar
from app.cache import LoadedModel
from app.charts import percent
from app.handwriting import BRUSH, CANVAS, ink_of_canvas, layout_of, place_ink
from app.uploads import ACCEPTED, MAX_BYTES, ModelInput
from distillery.data.errors import InputError
from distillery.data.prepared import Split
from distillery.evaluation.results import Evaluation

SEEN_SIDE = 140  # pixels of the image that the models see, enlarged
MAX_TEMPERATURE = 20.0
DRAW, PICK, UPLOAD = "Draw", "Test image", "Upload"
SUBSETS = {  # which test images to pick from, by which of the models are correct
    "all test images": lambda correct: np.ones(len(correct["teacher"]), bool),
    "distilled correct, scratch wrong": lambda correct: correct["distilled"] & ~correct["scratch"],
    "scratch correct, distilled wrong": lambda correct: correct["scratch"] & ~correct["distilled"],
    "teacher correct, both students wrong": lambda correct: (
        correct["teacher"] & ~correct["distilled"] & ~correct["scratch"]
    ),
    "all three wrong": lambda correct: ~correct["teacher"] & ~correct["distilled"] & ~correct["scratch"],
}


def show_page() -> None:
    """Draw the page."""
    st.title("Try the models")
    models = sidebar.usable_models()
    if not models:
        return
    any_model = next(iter(models.values()))
    shape = any_model.image_shape
    info, why_not = cache.dataset_info()
    if info and (info.image_shape, len(info.classes)) != (shape, any_model.classes):
        info = None
        why_not = "data/prepared is of another run than models/: its images or classes are others; run `dvc repro`"
    if info is None:
        sidebar.tell_problems([why_not])
    preprocessing = info.preprocessing if info else None
    dataset = info.name if info and not preprocessing else ""  # own images may have the name of a data set of arrays
    classes = info.classes if info else [f"class {number}" for number in range(any_model.classes)]

    left, right = st.columns([1.15, 2.1], gap="large")
    with left:
        chosen = choose_image(dataset, classes, shape, preprocessing)
    with right:
        temperature = choose_temperature()
        if chosen is None:
            st.info("Nothing to look at yet: draw, pick or upload an image on the left.", icon=":material/arrow_back:")
            return
        show_predictions(models, chosen.pixels, temperature, classes)
    with left:
        show_seen(chosen)


def choose_image(
    dataset: str, classes: list[str], shape: tuple[int, int, int], preprocessing: dict | None
) -> ModelInput | None:
    """Let the person make or choose an image; return None while there is none."""
    layout = layout_of(dataset, shape)
    sources = [DRAW] if layout and layout.drawn else []
    sources += [PICK, UPLOAD]
    source = st.segmented_control("Image", sources, default=sources[0], required=True)
    if source == DRAW:
        return drawn_image(dataset, shape)
    return picked_image(classes, shape) if source == PICK else uploaded_image(dataset, shape, preprocessing)


def drawn_image(dataset: str, shape: tuple[int, int, int]) -> ModelInput | None:
    """Return a drawing on the canvas, placed as the data set places its images."""
    from streamlit_drawable_canvas import st_canvas  # outside Streamlit, importing it fails

    st.caption("Draw a digit, large.")
    canvas = st_canvas(
        stroke_width=BRUSH,
        stroke_color="#000000",
        background_color="#FFFFFF",
        width=CANVAS,
        height=CANVAS,
        return_image_data=True,
        key="canvas",
    )
    if canvas.image_data is None or not (ink := ink_of_canvas(canvas.image_data)).any():
        return None
    layout = layout_of(dataset, shape)
    pixels = place_ink(ink, shape[0], layout).reshape(shape)
    return ModelInput(
        pixels, f"fitted into {layout.box} × {layout.box} and placed by its centre of mass, as the data set is"
    )


def picked_image(classes: list[str], shape: tuple[int, int, int]) -> ModelInput | None:
    """Return one of the test images, picked from all or from those on which the models differ."""
    test, why_not = cache.test_split()
    if test is None or test.images.shape[1:] != shape:
        sidebar.tell_problems([why_not or "the test images are of another run than the models; run `dvc repro`"])
        return None
    evaluation, _ = cache.evaluation()
    candidates = np.arange(len(test.labels))
    if evaluation and is_of(evaluation, test):
        correct = {role: predicted == evaluation.labels for role, predicted in evaluation.predicted.items()}
        subsets = {name: np.flatnonzero(chosen(correct)) for name, chosen in SUBSETS.items()}
        name = st.selectbox(
            "Among",
            [name for name in subsets if len(subsets[name])],
            format_func=lambda name: f"{name} ({len(subsets[name]):,})",
        )
        candidates = subsets[name]
    if st.button("Another, at random", icon=":material/casino:"):
        st.session_state["picked"] = int(np.random.default_rng().integers(1, len(candidates) + 1))
    st.session_state["picked"] = min(st.session_state.get("picked", 1), len(candidates))
    number = st.number_input(f"Number, 1 to {len(candidates):,}", 1, len(candidates), key="picked")
    position = candidates[number - 1]
    label = sidebar.plain(classes[test.labels[position]])
    st.markdown(f"Test image {position + 1:,} of {len(test.labels):,}, label **{label}**")
    return ModelInput(np.array(test.images[position]), "")


def is_of(evaluation: Evaluation, test: Split) -> bool:
    """Return whether the predictions that `evaluate` wrote are of these test images."""
    return len(evaluation.labels) == len(test.labels) and bool((evaluation.labels == test.labels).all())


def uploaded_image(dataset: str, shape: tuple[int, int, int], preprocessing: dict | None) -> ModelInput | None:
    """Return a picture from the person's own files, checked."""
    file = st.file_uploader(f"A picture: {ACCEPTED}", max_upload_size=MAX_BYTES // 1_000_000)
    if layout_of(dataset, shape):
        st.caption("A photograph of dark ink on light paper is fine: it is inverted, cropped and centred.")
    if file is None:
        return None
    try:
        return cache.picture(file.getvalue(), file.name, dataset, shape, preprocessing)
    except InputError as error:
        st.error(sidebar.message(str(error)), icon=":material/block:")
        return None


def show_seen(chosen: ModelInput) -> None:
    """Show the image as the models see it, enlarged."""
    height, width, channels = chosen.pixels.shape
    factor = max(1, SEEN_SIDE // height)
    enlarged = chosen.pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    st.markdown(f"**What the models see**, {height} × {width} pixels")
    st.image(enlarged[..., 0] if channels == 1 else enlarged, width=max(SEEN_SIDE, width))
    if chosen.changes:
        st.caption(f"What was done: {chosen.changes}.")


def choose_temperature() -> float:
    """Let the person choose the temperature; the one with which the student was distilled is named."""
    distilled_at = results.distillation_temperature()
    return st.slider(
        "Temperature" + (f" (the student was distilled at {distilled_at:g})" if distilled_at else ""),
        1.0,
        max(MAX_TEMPERATURE, distilled_at or 0.0),
        1.0,
        0.5,
        format="%.1f",
        help="Logits are divided by the temperature before the softmax.",
    )


def show_predictions(models: dict[str, LoadedModel], image: np.ndarray, temperature: float, classes: list[str]) -> None:
    """Show each model's probabilities as bars, on one scale and in one order."""
    logits, milliseconds = cache.predict(models, image)
    st.markdown(dark_knowledge(next(iter(models)), logits[0], temperature, classes))
    shown = predictions.classes_to_show(logits)
    for (role, model), scores, column in zip(models.items(), logits, st.columns(len(models)), strict=True):
        chances = predictions.probabilities(scores, temperature)
        with column:
            charts.model_heading(role, f"{milliseconds[role]:.2f} ms")
            best = int(scores.argmax())
            st.metric(
                "Predicts",
                sidebar.plain(classes[best]),
                f"{percent(chances[best])} at temperature {temperature:g}",
                delta_color="off",
                delta_arrow="off",
            )
            st.altair_chart(charts.probability_bars(role, chances[shown], [classes[number] for number in shown]))
            if model.file.omitted_classes:
                st.caption(f"It never saw: {sidebar.plain(', '.join(model.file.omitted_classes))}")
    if len(shown) < len(classes):
        st.caption(
            f"Bars show {len(shown)} of {len(classes)} classes: those to which any of the models gives the most. "
            "Probabilities are of all classes."
        )
    st.caption("Milliseconds: the median of a few calls on this one image.")


def dark_knowledge(role: str, logits: np.ndarray, temperature: float, classes: list[str]) -> str:
    """Return a sentence on what the temperature shows."""
    order = np.argsort(-logits, kind="stable")
    first, second = (sidebar.plain(classes[number]) for number in order[:2])
    rest = predictions.other_classes(logits, temperature)
    name = "teacher" if role == "teacher" else "student"
    if temperature == 1:
        return (
            f"At temperature 1 these are the probabilities as they are: the {name} leaves **{percent(rest)}** to all "
            f"classes but {first}. Raise the temperature to see what else it knows."
        )
    return (
        f"At temperature {temperature:g} the {name} leaves **{percent(rest)}** to the classes other than {first}, at "
        f"temperature 1 {percent(predictions.other_classes(logits, 1))}; {second} is the first of them. Which classes "
        "an image resembles is the *dark knowledge* that a student learns from."
    )


show_page()
