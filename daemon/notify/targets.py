"""Name the targets of notifications without their secrets."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from rekindle.daemon.config import Notify

COMMAND: Final = "command"
_HIDDEN: Final = "****"
_LEAST: Final = 3
"""Characters of a password; with shorter ones hidden no message could be read."""
_SECRET: Final = 6
"""Characters of a part of a URL from which on it may be a token."""


class Unreadable(Exception):
    """The file with the URLs cannot be read."""


@dataclass(frozen=True, slots=True)
class Target:
    """Hold one way to tell people.

    Attributes:
        id: what the outbox knows it by; says nothing about the URL.
        url: with its secrets; empty for the command.
    """

    id: str
    url: str

    @property
    def shown(self) -> str:
        """Return what a log or a message may show: kind and host."""
        return self.id if not self.url else masked_url(self.url)


def of(settings: Notify) -> list[Target]:
    """List the targets of the settings.

    Raises:
        Unreadable: the file with the URLs cannot be read.
    """
    urls = list(settings.urls)
    if settings.urls_file is not None:
        try:
            text = Path(settings.urls_file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise Unreadable(f"{settings.urls_file}: {error}") from error
        lines = (line.strip() for line in text.splitlines())
        urls += [line for line in lines if line and not line.startswith("#")]
    found = [Target(hashlib.sha256(url.encode()).hexdigest()[:16], url) for url in urls]
    if settings.command:
        found.append(Target(COMMAND, ""))
    return list({one.id: one for one in found}.values())


def masked_url(url: str) -> str:
    """Return kind and host of a URL; nothing else of it is safe to show."""
    kind, mark, rest = url.partition("://")
    if not mark:
        return _HIDDEN
    host = re.split(r"[/?#]", rest)[0].rpartition("@")[2]
    # without a path the host itself may be a token (tgram://TOKEN/ID)
    known = "." in host or host.partition(":")[0] == "localhost"
    return f"{kind}://{host if known else _HIDDEN}/{_HIDDEN}"


def mask(text: str, url: str) -> str:
    """Hide in a text what a URL holds: passwords, tokens, the URL itself."""
    if not url:
        return text
    text = text.replace(url, masked_url(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return text


def _secrets(url: str) -> set[str]:
    rest = url.partition("://")[2]
    user = re.split(r"[/?#]", rest)[0].rpartition("@")[0]
    found = {part for part in user.split(":") if len(part) >= _LEAST}
    parts = re.split(r"[/?&=#@:]", rest)
    found |= {part for part in parts if len(part) >= _SECRET and "." not in part}
    try:
        found |= {part for part in (urlsplit(url).password,) if part}
    except ValueError:
        pass
    return {one for part in found for one in (part, unquote(part)) if one}
