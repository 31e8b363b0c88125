"""Which JSON Web Tokens a server takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TokenConfig:
    """Whose tokens a server takes: signed with ``key`` and made for ``audience``; by ``issuer``, if that is given.

    ``key`` is a file with a public key (PEM or JWK: RSA of 2048 bits, P-256 or Ed25519), or with a secret of 32 bytes or more.
    """

    key: Path
    audience: str
    issuer: str | None = None
    lifetime_s: float = 24 * 3600.0
    """The longest time that a token may be valid."""

    def __post_init__(self) -> None:
        if not self.audience or self.issuer == "":
            raise ValueError("the audience and the issuer of tokens are texts that are not empty")
        if not self.lifetime_s > 0:
            raise ValueError(f"lifetime_s must be above 0, not {self.lifetime_s!r}")
