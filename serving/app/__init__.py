"""The app in the browser, and its endpoints for scripts."""
