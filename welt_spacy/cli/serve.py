"""`spacy welt serve`: a pipeline behind an HTTP interface."""

import contextlib
import ipaddress
import signal
import socket
from pathlib import Path
from typing import Any

import typer

from ..errors import WeltError, extra_needed
from ._util import GPU_ID, one_line_errors, warn


@one_line_errors
def serve_cli(
    pipeline: Path = typer.Argument(
        ..., help="Name or folder of a pipeline that sets doc.ents."
    ),
    host: str = typer.Option(
        "127.0.0.1", "--host", help="Address to listen at; 0.0.0.0 for all."
    ),
    port: int = typer.Option(
        8000, "--port", "-p", min=0, max=65535, help="Port to listen at; 0 for any."
    ),
    token: str | None = typer.Option(
        None,
        "--token",
        envvar="WELT_SERVE_TOKEN",
        show_envvar=True,
        help="Bearer token that clients must send.",
    ),
    max_chars: int = typer.Option(
        100_000, "--max-chars", min=1, help="Maximum number of characters per text."
    ),
    max_texts: int = typer.Option(
        100, "--max-texts", min=1, help="Maximum number of texts per request."
    ),
    max_queue: int = typer.Option(
        1000, "--max-queue", min=1, help="Maximum number of waiting texts."
    ),
    timeout: float = typer.Option(
        60.0, "--timeout", min=0.1, help="Seconds until a request is cancelled."
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Serve a pipeline over HTTP: POST /annotate, GET /health, the OpenAPI schema at
    /openapi.json, and a page to try the pipeline at /.

    Texts of several clients share batches. On SIGTERM the server answers the accepted
    requests and ends.
    """
    with extra_needed("spacy welt serve", "serve"):
        import uvicorn

        from ..serving.app import Limits, make_app
        from ..util.pipelines import load_pipeline
    if token is not None and not token.strip():
        raise WeltError("--token is empty: give a token, or leave it out")
    limits = Limits(max_chars, max_texts, max_queue, timeout)
    nlp = load_pipeline(pipeline, gpu_id=gpu_id)
    app = make_app(nlp, limits=limits, token=token)
    server_socket = _listen(host, port)
    if not token and not _is_loopback(host):
        warn(f"{host}: other machines can connect without a token. Set --token")
    address = f"{host}:{server_socket.getsockname()[1]}"
    typer.echo(f"✔ http://{address} (OpenAPI schema: http://{address}/openapi.json)")
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    # uvicorn answers the accepted requests and then sends itself the signal once more
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    with server_socket, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[server_socket])
    counts: Any = app.state.counts
    typer.echo(
        f"✔ {counts['accepted']:,} requests accepted, {counts['answered']:,} answered"
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        server_socket = socket.socket(family)
        server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server_socket.bind(address)
        server_socket.listen(2048)
        return server_socket
    except OSError as err:
        raise WeltError(
            f"can't listen at {host}:{port}: {err.strerror or err}. Use another --port or "
            "--host"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
