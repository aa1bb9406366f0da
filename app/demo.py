"""The demo's entry: `streamlit run app/demo.py`, from the project's folder."""

import sys
from pathlib import Path

import streamlit as st

# Streamlit puts the script's own folder on the path, not the one that it is started from.
ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from app import charts, sidebar  # noqa: E402, after the line above

st.set_page_config("Distillery", page_icon=charts.icon(), layout="wide")
st.html(  # Streamlit's own margins take a third of a laptop's screen
    "<style>.stMainBlockContainer {padding: 3.5rem 3rem 3rem; max-width: 1500px} h1 {font-size: 2.1rem}"
    # On a narrow window what stands side by side stands one below the other, rather than cut off.
    "@media (max-width: 1150px) {.stMainBlockContainer {padding: 3.5rem 1.5rem 2rem}"
    " [data-testid=stHorizontalBlock] {flex-wrap: wrap} [data-testid=stColumn] {min-width: 300px}}</style>"
)
page = st.navigation(
    [
        st.Page("compare.py", title="Compare", icon=":material/balance:", default=True),
        st.Page("try_page.py", title="Try", icon=":material/draw:"),
        st.Page("speed.py", title="Speed", icon=":material/speed:"),
    ]
)
if Path("params.yaml").is_file():
    sidebar.show()
    page.run()
else:
    st.error("There is no params.yaml here. Start the demo from the project's folder:")
    st.code("streamlit run app/demo.py", language="bash")
