"""A Gradio Space for a model on the Hub: `build.py` writes its folder, of which `app.py` and the card lie here."""
