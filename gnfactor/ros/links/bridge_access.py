"""How a rosbridge server is reached safely: its address, its certificate, and a secret that is never shown in clear."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from gnfactor.errors import ConfigError
from gnfactor.ros.config import LinkConfig

ROSAUTH_LEVEL = "admin"
ROSAUTH_LIFE_S = 60
EXAMPLES = "ws://127.0.0.1:9090 or wss://robot.lab:9090"


@dataclass(frozen=True)
class BridgeAccess:
    """The way in."""

    uri: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    """None: not encrypted."""
    headers: Mapping[str, str] = field(repr=False)
    """Of the request that opens the connection."""
    secret: str | None = field(repr=False)
    """With which the first message proves who we are, where rosauth checks it."""

    def greeting(self, clock: Callable[[], float]) -> dict[str, Any] | None:
        """The first message, where there has to be one; `clock` gives the seconds that both computers agree on."""
        return None if self.secret is None else rosauth(self.secret, self.uri, int(clock()), token_hex(8))


def bridge_access(config: LinkConfig) -> BridgeAccess:
    """The way in that a configuration describes.

    Raises:
        ConfigError: the address is no websocket's, a file cannot be used, or the secret would be readable on the
            network: it takes wss://, or a bridge on this computer.
    """
    uri = config.uri or ""
    parts = urlsplit(uri)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigError(
            "link.uri holds a user, a password or a query, and may be shown in logs and errors; put the secret into a "
            "file and name link.token_file"
        )
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ConfigError(
            f"link.uri is {config.uri or 'null'}; the address of the rosbridge server is expected: {EXAMPLES}"
        )
    if parts.scheme == "ws" and config.tls_ca is not None:
        raise ConfigError(f"link.tls_ca is given, but link.uri, {uri}, is not encrypted; use wss://")
    secret = None if config.token_file is None else _secret(config.token_file)
    if secret is not None and parts.scheme == "ws" and not _is_here(parts.hostname):
        raise ConfigError(
            f"link.token_file is given, but {uri} is not encrypted: anybody on the network could use what is sent. Use "
            "wss:// with link.tls_ca, or a tunnel (ssh -L) and ws://127.0.0.1"
        )
    is_bearer = config.auth == "bearer"
    return BridgeAccess(
        uri,
        parts.hostname,
        _port(uri),
        _tls(config.tls_ca) if parts.scheme == "wss" else None,
        {"Authorization": f"Bearer {secret}"} if secret is not None and is_bearer else {},
        None if is_bearer else secret,
    )


def rosauth(secret: str, destination: str, time_s: int, nonce: str) -> dict[str, Any]:
    """What rosauth's node takes as a proof of knowing its secret, within 5 s of a time.

    Its code is SHA-512 over the secret and all fields in this order, whole seconds in decimals.
    """
    end_s = time_s + ROSAUTH_LIFE_S
    text = f"{secret}gnfactor{destination}{nonce}{time_s}{ROSAUTH_LEVEL}{end_s}"
    return {
        "op": "auth",
        "mac": hashlib.sha512(text.encode()).hexdigest(),
        "client": "gnfactor",
        "dest": destination,
        "rand": nonce,
        "t": time_s,
        "level": ROSAUTH_LEVEL,
        "end": end_s,
    }


def _port(uri: str) -> int:
    parts = urlsplit(uri)
    try:
        return parts.port or {"ws": 80, "wss": 443}[parts.scheme]
    except ValueError as error:
        raise ConfigError(
            f"link.uri is {uri}, which has no usable port; something like {EXAMPLES} is expected"
        ) from error


def _secret(path: str) -> str:
    try:
        secret = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds more than ASCII"
        raise ConfigError(f"link.token_file, {path}, cannot be read: {reason}") from None
    if not secret.isprintable() or not secret or " " in secret:
        raise ConfigError(f"link.token_file, {path}, must hold one word of printable characters and nothing else")
    return secret


def _tls(authority: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"link.tls_ca, {authority}, is no file of certificates (PEM) that can be read") from error


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
