"""The page to try the API on: one file that needs nothing but this server."""

from importlib.resources import files


def dashboard_html() -> str:
    """Return the page."""
    return (files(__package__) / "dashboard.html").read_text("utf-8")
