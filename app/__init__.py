"""The interactive demo: `streamlit run app/demo.py`. It knows `stages`; nothing knows it."""
