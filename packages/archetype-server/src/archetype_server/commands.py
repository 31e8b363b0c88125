"""What this package adds to the command ``archetype``, which finds it through the entry point group ``archetype.commands``.

Only that command, of ``archetype-cli``, imports this module, so ``click`` is its dependency and not one of this package.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from archetype_core.config import StorageConfig
from archetype_server.config import ServerConfig, default_storage
from archetype_server.token_config import TokenConfig

_STORAGE = click.option("--storage", metavar="ADDRESS", help="Where histories are stored.  [default: ./archetype-data]")
_STATE = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The server's own files.  [default: <storage>-server]",
)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    envvar="ARCHETYPE_PORT",
    metavar="N",
    help="0 takes a free one.  [default: 8000, or ARCHETYPE_PORT]",
)
@_STORAGE
@_STATE
@click.option("--load", metavar="MODULE", help="A module or .py file with components, processors and world templates.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Another name that clients may use for this server.")
@click.option(
    "--jwt-key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Take JSON Web Tokens too, signed with this public key (PEM or JWK) or secret.",
)
@click.option("--jwt-audience", metavar="NAME", help="The `aud` that these tokens must have.")
@click.option("--jwt-issuer", metavar="NAME", help="The `iss` that they must have, if one is given.")
@click.option("--dev", is_flag=True, help="Callers without a key choose their role. On a loopback address only.")
@click.option(
    "--log",
    "log_form",
    type=click.Choice(["json", "text"]),
    help="Log to standard error, with a line per request.  [default: warnings alone]",
)
@click.option("--json", "is_json", is_flag=True, help="Print one line of JSON with the address when it is ready.")
def serve(
    *,
    host: str,
    port: int,
    storage: str | None,
    state: Path | None,
    load: str | None,
    allow_host: tuple[str, ...],
    jwt_key: Path | None,
    jwt_audience: str | None,
    jwt_issuer: str | None,
    dev: bool,
    log_form: str | None,
    is_json: bool,
) -> None:
    """Serve worlds over HTTP until Ctrl-C or SIGTERM.

    Without --load, worlds have the components Position, Velocity and Health, and things move. The first start writes an
    admin's key to admin.key in the state directory.
    """
    from archetype_core.errors import ArchetypeError
    from archetype_server.serve import serve as run

    if (jwt_key is None) != (jwt_audience is None) or (jwt_issuer is not None and jwt_key is None):
        raise click.UsageError("--jwt-key and --jwt-audience go together, and --jwt-issuer with both")
    try:
        tokens = None if jwt_key is None or jwt_audience is None else TokenConfig(jwt_key, jwt_audience, jwt_issuer)
        listens = replace(_config(storage, state), host=host, port=port, allowed_hosts=allow_host)
        config = replace(listens, load=load, is_dev=dev, tokens=tokens)
    except ValueError as refusal:
        raise click.UsageError(str(refusal)) from None
    try:
        run(config, is_json=is_json, log_form=log_form)
    except ArchetypeError as refusal:
        raise click.ClickException(str(refusal)) from None


def _config(storage: str | None, state: Path | None) -> ServerConfig:
    chosen = default_storage() if storage is None else StorageConfig(uri=storage)
    return ServerConfig(storage=chosen, state=state)
