"""The sidebar of every page, and messages on what is missing."""

import streamlit as st

from app import cache, results


def show() -> None:
    """Draw the sidebar."""
    info, _ = cache.dataset_info()
    with st.sidebar:
        st.markdown("**Distillery** trains a small model from one that exists.")
        st.caption(
            "The *teacher* is the model that exists. The *distilled* student learned from the labels and from the "
            "teacher's predictions; the student *from scratch*, the same network with the same budget, from the labels "
            "alone, with a recipe of its own."
        )
        if info:
            height, width, channels = info.image_shape
            st.markdown(
                f"Data set: **{plain(info.name)}**  \n{len(info.classes)} classes, {height} × {width} pixels, "
                f"{'grey' if channels == 1 else 'colour'}"
            )
        st.caption("After a new `dvc repro`, press R: no restart is needed.")


def usable_models() -> dict[str, cache.LoadedModel]:
    """Return the models of the last run, by role; show what is wrong with them, or what to run when there are none."""
    models, problems = cache.models()
    if models:
        tell_problems(problems)
    else:
        tell_no_models(problems)
    return models


def tell_problems(problems: list[str]) -> None:
    """Show what is wrong, and what to do about it."""
    for problem in problems:
        st.warning(message(problem), icon=":material/warning:")


def tell_no_models(problems: list[str]) -> None:
    """Show what to run when there are no models that can be used."""
    st.info("There are no models to show yet. Train, distil and compare them; in a terminal, in this folder:")
    st.code("dvc repro", language="bash")
    st.caption(
        "It takes the parameters in params.yaml; presets/ has other ones. If it is running now, wait until it ends, "
        "then press R."
    )
    with st.expander("What was looked for", expanded=False):
        for problem in problems:
            st.markdown(f"- {message(problem)}")


def tell_outdated() -> None:
    """Show a warning where the metrics are of other models than the models in the folder."""
    if stages := results.stages_since_evaluation():
        st.warning(
            f"The numbers below are of an earlier run: {', '.join(f'`{stage}`' for stage in stages)} ran after the "
            "last `evaluate`. Run `dvc repro`.",
            icon=":material/warning:",
        )


def plain(text: str) -> str:
    """Return text that Markdown shows as it is: a class or a file may be named anything."""
    return "".join(f"\\{c}" if c in "\\*_[]<>#~$:|!`" else c for c in text)


def message(text: str) -> str:
    """Return a message of the pipeline for Markdown: code in backticks stays code, the rest is shown as it is."""
    return "`".join(part if number % 2 else plain(part) for number, part in enumerate(text.split("`")))
