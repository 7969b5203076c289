"""Recognise files that hold secrets by their well-known names and places.

Only code is read from a snapshot; a script reads its other files from their original places. A
copy of a key would therefore serve nobody.
"""

import os
import re
from fnmatch import translate
from pathlib import Path
from typing import Final

_FOLDERS: Final = frozenset(
    {
        ".ssh",
        ".gnupg",
        ".aws",
        ".azure",
        ".kube",
        ".docker",
        ".huggingface",
        ".kaggle",
        ".gsutil",
        ".oci",
        ".password-store",
        ".mozilla",
        ".config/gcloud",
        ".config/gh",
        ".config/rclone",
        ".config/wandb",
        ".cache/huggingface",
        ".local/share/keyrings",
    }
)
_NAMES: Final = frozenset(
    {
        ".netrc",
        "_netrc",
        ".pgpass",
        ".my.cnf",
        ".git-credentials",
        ".pypirc",
        ".npmrc",
        ".dockercfg",
        ".boto",
        ".s3cfg",
        ".vault-token",
        ".htpasswd",
        ".xauthority",
        "kaggle.json",
        "credentials.json",
        "application_default_credentials.json",
    }
)
_PATTERNS: Final = (
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    "client_secret*.json",
    "service*account*.json",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.ppk",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    ".*_history",
)
_SETTINGS: Final = (".env", ".env.*", "*.env", ".envrc", "secrets.toml", "secrets.y*ml")
_PUBLIC: Final = (".py", ".pyi", ".pub")
_OF_A_HOME: Final = (".ssh", ".gnupg", ".bashrc", ".bash_profile", ".profile", ".zshrc")


def is_home(folder: Path) -> bool:
    """Return whether a folder looks like the home of a user, which holds more than code."""
    return any(os.path.lexists(folder / name) for name in _OF_A_HOME)


def reason(name: str, *, in_home: bool) -> str | None:
    """Explain why a file is not copied; None for one that is no secret.

    Args:
        name: its path below the root of the tree, with ``/``.
        in_home: the root is the home of a user.
    """
    folder, _, last = name.lower().rpartition("/")
    secret = "." in folder and any(f"/{one}/" in f"/{folder}/" for one in _FOLDERS)
    if not secret and not last.endswith(_PUBLIC):
        secret = last in _NAMES or _SECRET.match(last) is not None
        secret = secret or (in_home and is_private(name))
    return "may hold a secret; the script reads the original" if secret else None


def is_private(name: str) -> bool:
    """Return whether a file of settings is copied for the user of the service alone."""
    return _PRIVATE.match(name.rpartition("/")[2].lower()) is not None


def _any(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)))


_SECRET: Final = _any(_PATTERNS)
_PRIVATE: Final = _any(_SETTINGS)
