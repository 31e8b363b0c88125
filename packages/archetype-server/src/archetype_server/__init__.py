"""Archetype over HTTP: every route is one call of the command gate."""

from archetype_server.config import Limits, ServerConfig
from archetype_server.first_key import ensure_first_key
from archetype_server.key_store import KeyInfo, KeyStore
from archetype_server.owner import SecondServer
from archetype_server.problem import ServerError
from archetype_server.serve import NotBound, Server, serve
from archetype_server.template import WorldTemplate, load_templates
from archetype_server.token_config import TokenConfig
from archetype_server.token_verifier import UnusableTokenKey

__all__ = [
    "KeyInfo",
    "KeyStore",
    "Limits",
    "NotBound",
    "SecondServer",
    "Server",
    "ServerConfig",
    "ServerError",
    "TokenConfig",
    "UnusableTokenKey",
    "WorldTemplate",
    "ensure_first_key",
    "load_templates",
    "serve",
]
