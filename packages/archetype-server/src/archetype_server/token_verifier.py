"""JSON Web Tokens of another issuer: who they name, if they are signed with the one key that the operator gave."""

from __future__ import annotations

import base64
import json
import math
import re
import time
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from msgspec import Meta, Struct

from archetype_core.command import ActorCtx
from archetype_server.key_store import SERVER
from archetype_server.problem import ServerError
from archetype_server.token_config import TokenConfig

SKEW_S = 60.0
"""How much the clocks of issuer and server may differ."""
_LONGEST = 8192
_SHORTEST_SECRET = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)", re.ASCII)
_Name = Annotated[str, Meta(min_length=1, max_length=200)]
AnyKey = OctKey | RSAKey | ECKey | OKPKey


class UnusableTokenKey(ServerError):
    """The file with the key of tokens has none that the server takes."""

    code = "ARC-H017"


class _Claims(Struct):
    sub: _Name
    aud: str | list[str]
    exp: float
    roles: Annotated[list[Literal["viewer", "player", "operator", "admin"]], Meta(min_length=1)]
    worlds: list[_Name] | None = None
    nbf: float | None = None
    iat: float | None = None
    iss: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """What a valid token says."""

    actor: ActorCtx
    expires_at: float
    """Seconds of the epoch; from then on it is nobody."""


class _Registry(jws.JWSRegistry):
    """The algorithm of one key, by the names that it has. Parameters of a header that are not known are ignored, unless critical.

    The library's own registry warns of EdDSA at every token, because RFC 9864 gives it another name.
    """

    def __init__(self, names: Collection[str]) -> None:
        super().__init__(algorithms=names, strict_check_header=False)
        self._names = frozenset(names)

    def get_alg(self, name: str) -> Any:
        if name not in self._names:
            raise UnsupportedAlgorithmError(f"{name} is not the algorithm of the key")
        return self.algorithms[name]


class TokenVerifier:
    """Checks tokens. The key alone decides which algorithm they have; what a token's header says is only compared."""

    def __init__(self, config: TokenConfig, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._key, names = _loaded(config.key)
        self._registry = _Registry(names)

    def find(self, text: str) -> Token | None:
        """Return what a token says; ``None`` if it is malformed, of another key, audience or issuer, or not valid now."""
        found = _TOKEN.fullmatch(text) if len(text) <= _LONGEST else None
        if found is None or not _is_canonical(found[1]):
            return None
        try:
            signed = jws.deserialize_compact(text, self._key, registry=self._registry)
            claims = msgspec.json.decode(signed.payload, type=_Claims)
        except (JoseError, msgspec.MsgspecError, ValueError, TypeError, RecursionError):
            return None
        if not self._is_ours(claims) or not self._is_valid_now(claims):
            return None
        return Token(ActorCtx(claims.sub, claims.roles, claims.worlds), claims.exp + SKEW_S)

    def _is_ours(self, claims: _Claims) -> bool:
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        is_issuer = self._config.issuer is None or claims.iss == self._config.issuer
        return self._config.audience in audiences and is_issuer and claims.sub != SERVER.id

    def _is_valid_now(self, claims: _Claims) -> bool:
        now, longest = self._clock(), self._config.lifetime_s + SKEW_S
        moments = [one for one in (claims.exp, claims.nbf, claims.iat) if one is not None]
        if not all(map(math.isfinite, moments)):
            return False
        has_begun = all(one - SKEW_S <= now for one in (claims.nbf, claims.iat) if one is not None)
        begun = now if claims.iat is None else min(claims.iat, now)
        return has_begun and now < claims.exp + SKEW_S and claims.exp - begun <= longest


def _loaded(path: Path) -> tuple[AnyKey, tuple[str, ...]]:
    """The key of a file, and the names of the one algorithm that it is for."""
    try:
        data = path.read_bytes()
    except OSError as failure:
        raise UnusableTokenKey(f"the key of tokens cannot be read: {failure.strerror}: {path}") from failure
    try:
        with warnings.catch_warnings():
            # It warns of weak keys, which are refused below.
            warnings.simplefilter("ignore", SecurityWarning)
            key = _key(data)
    except (JoseError, ValueError, TypeError, KeyError) as failure:
        raise UnusableTokenKey(f"{path} has no key that can be used for tokens: {failure}") from failure
    match key:
        case OctKey() if len(key.raw_value) >= _SHORTEST_SECRET:
            return key, ("HS256",)
        case OctKey():
            raise UnusableTokenKey(f"the secret in {path} is too short: use {_SHORTEST_SECRET} random bytes or more")
        case _ if key.is_private:
            raise UnusableTokenKey(f"{path} has a private key: give the server the public one alone")
        case RSAKey() if key.raw_value.key_size >= 2048:
            return key, ("RS256",)
        case ECKey() if key.curve_name == "P-256":
            return key, ("ES256",)
        case OKPKey() if key.curve_name == "Ed25519":
            return key, ("EdDSA", "Ed25519")
    raise UnusableTokenKey(f"the key in {path} is none of RSA with 2048 bits or more, P-256 or Ed25519")


def _key(data: bytes) -> AnyKey:
    if data.lstrip().startswith(b"{"):
        facts: dict[str, Any] = json.loads(data)
        kinds: dict[object, type[AnyKey]] = {"oct": OctKey, "RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
        if facts.get("kty") not in kinds:
            raise ValueError("it is no JSON Web Key")
        return kinds[facts["kty"]].import_key(facts)
    for kind in (RSAKey, ECKey, OKPKey):
        try:
            return kind.import_key(data)
        except (JoseError, ValueError, TypeError):
            continue
    # What looks like a key of another kind is never a secret: everybody may know it.
    if b"-----BEGIN" in data or data.startswith((b"ssh-", b"ecdsa-")):
        raise ValueError("it is no public key of a kind that is taken")
    return OctKey.import_key(data.removesuffix(b"\n"))


def _is_canonical(segment: str) -> bool:
    """Whether base64 text is the one that encodes its bytes."""
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        return False
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode() == segment
