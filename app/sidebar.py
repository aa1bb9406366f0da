"""Beside every page: what the models were made from, and what is wrong with them."""

import streamlit as st

from app import loaded, results


def show() -> None:
    """Draw the sidebar."""
    about, _ = loaded.description()
    with st.sidebar:
        st.markdown("**Distillery** trains a small model from a large one.")
        st.caption(
            "The *teacher* is the large model. The *distilled* student learned from the labels and from the teacher's "
            "answers; the student *from scratch*, the same network with the same budget, from the labels alone."
        )
        if about:
            height, width, channels = about["image_shape"]
            st.markdown(
                f"Data set: **{plain(about['name'])}**  \n{len(about['classes'])} classes, {height} × {width} pixels, "
                f"{'grey' if channels == 1 else 'colour'}"
            )
        st.caption("After a new `dvc repro`, press R: no restart is needed.")


def usable_models() -> dict[str, loaded.LoadedModel]:
    """The models of the last run, by kind; what is wrong with them, or what to run when there are none, is told."""
    models, problems = loaded.models()
    if models:
        tell_problems(problems)
    else:
        tell_no_models(problems)
    return models


def tell_problems(problems: list[str]) -> None:
    """Say what is wrong with the models, and what to do about it."""
    for problem in problems:
        st.warning(message(problem), icon=":material/warning:")


def tell_no_models(problems: list[str]) -> None:
    """Say what to run when there are no models that can be used."""
    st.info("There are no models to show yet. Train, distil and compare them; in a terminal, in this folder:")
    st.code("dvc repro", language="bash")
    st.caption(
        "It takes the parameters in params.yaml; README.md has presets. If it is running now, wait until it ends, then "
        "press R."
    )
    with st.expander("What was looked for", expanded=False):
        for problem in problems:
            st.markdown(f"- {message(problem)}")


def tell_outdated() -> None:
    """Say so where the metrics are of other models than those in the folder."""
    if stages := results.stages_since_evaluation():
        st.warning(
            f"The numbers below are of an earlier run: {', '.join(f'`{stage}`' for stage in stages)} ran after the "
            "last `evaluate`. Run `dvc repro`.",
            icon=":material/warning:",
        )


def plain(text: str) -> str:
    """Text that Markdown shows as it is: a class or a file may be named anything."""
    return "".join(f"\\{c}" if c in "\\*_[]<>#~$:|!`" else c for c in text)


def message(text: str) -> str:
    """A message of the pipeline's for Markdown: what it has in backticks is code, the rest is shown as it is."""
    return "`".join(part if number % 2 else plain(part) for number, part in enumerate(text.split("`")))
