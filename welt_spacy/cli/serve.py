"""`spacy welt serve`: a pipeline behind an address."""

import contextlib
import ipaddress
import signal
import socket
from pathlib import Path
from typing import Any

import typer

from ..errors import WeltError, extra_needed
from ..util.pipelines import load_pipeline
from ._util import GPU_ID, one_line_errors, warn


@one_line_errors
def serve_cli(
    pipeline: Path = typer.Argument(
        ..., help="Any pipeline that sets doc.ents: its name, or its folder."
    ),
    host: str = typer.Option(
        "127.0.0.1", "--host", help="The address to listen at; 0.0.0.0 for all."
    ),
    port: int = typer.Option(8000, "--port", "-p", min=0, max=65535),
    token: str | None = typer.Option(
        None,
        "--token",
        envvar="WELT_SERVE_TOKEN",
        show_envvar=True,
        help="What clients must send as a bearer token.",
    ),
    max_chars: int = typer.Option(
        100_000, "--max-chars", min=1, help="Characters of a text."
    ),
    max_texts: int = typer.Option(
        100, "--max-texts", min=1, help="Texts of a request."
    ),
    max_queue: int = typer.Option(
        1000, "--max-queue", min=1, help="Texts that wait, of all clients."
    ),
    timeout: float = typer.Option(
        60.0, "--timeout", min=0.1, help="Seconds until a request is given up."
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Serve a pipeline over HTTP: POST /annotate, GET /health, the interface described at
    /docs, and a page to try it at /.

    Texts of many clients share batches. SIGTERM ends it when what was accepted is answered.
    """
    with extra_needed("spacy welt serve", "serve"):
        import uvicorn

        from ..serving.app import Limits, make_app
    if token is not None and not token.strip():
        raise WeltError("--token is empty: give one, or leave it out")
    limits = Limits(max_chars, max_texts, max_queue, timeout)
    nlp = load_pipeline(pipeline, gpu_id=gpu_id)
    app = make_app(nlp, limits=limits, token=token)
    listening = _listen(host, port)
    if not token and not _is_loopback(host):
        warn(f"{host} can be reached from other machines, and there is no --token")
    address = f"{host}:{listening.getsockname()[1]}"
    typer.echo(f"✔ http://{address} (the interface: http://{address}/docs)")
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    # uvicorn answers what was accepted, and then sends itself the signal once more
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    with listening, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
    counts: Any = app.state.counts
    typer.echo(
        f"✔ {counts['accepted']:,} requests accepted, {counts['answered']:,} answered"
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        made = socket.socket(family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.listen(2048)
        return made
    except OSError as err:
        raise WeltError(
            f"can't listen at {host}:{port}: {err.strerror or err}: use another --port or "
            "--host"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
