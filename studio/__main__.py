"""`python -m studio`: the host's commands."""

from studio.cli import app

app(prog_name="python -m studio")
