"""The folder that `openrouter-tap run` puts on PYTHONPATH."""
