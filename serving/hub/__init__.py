"""The Hugging Face Hub: fetch a model, publish one, and a Space beside it."""
