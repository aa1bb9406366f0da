"""The interactive demo: `streamlit run app/demo.py`. It uses `distillery`; nothing imports it."""
