"""The page: a Gradio page with a viewer, a report, questions and findings that share one crosshair."""
