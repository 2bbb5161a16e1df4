"""The API keys that `moonfleet login` keeps for this user of this computer, one per coordinator.

Owns the file: keys.json in $XDG_CONFIG_HOME/moonfleet (else ~/.config/moonfleet), which only its
owner may read, and where else a key may come from. Must not talk to anybody.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from coordinator.cli.client import Usage

KEY_MAX = 256


def folder() -> Path:
    """Where this user's keys are."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "moonfleet"


def key_for(url: str, key_file: Path | None) -> str:
    """The key to send to this coordinator; empty: none is known.

    From --key-file, else MOONFLEET_KEY, else what `moonfleet login` kept for just this address.
    """
    if key_file is not None:
        try:
            return key_file.read_text(encoding="ascii")[:KEY_MAX].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Usage(f"--key-file {key_file}: cannot be read: {error}") from error
    return os.environ.get("MOONFLEET_KEY", "").strip() or _read().get(url.rstrip("/"), "")


def keep(url: str, key: str) -> Path:
    """Keep a key for this coordinator; returns the file."""
    return _write(_read() | {url.rstrip("/"): key})


def forget(url: str) -> bool:
    """Forget the key of this coordinator; False if there was none."""
    keys = _read()
    if keys.pop(url.rstrip("/"), None) is None:
        return False
    _write(keys)
    return True


def kept(url: str) -> str:
    """The key that is kept for this coordinator; empty: none."""
    return _read().get(url.rstrip("/"), "")


def _read() -> dict[str, str]:
    path = folder() / "keys.json"
    try:
        keys = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(keys, dict) or not all(isinstance(v, str) for v in keys.values()):
            raise ValueError("not an object of texts")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Usage(f"{path}: cannot be read: {error}") from error
    return keys


def _write(keys: dict[str, str]) -> Path:
    """Whole or not at all, and for the owner's eyes only from the first byte on."""
    path = folder() / "keys.json"
    new = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(keys, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise Usage(f"{path}: cannot be written: {error.strerror or error}") from error
    return path
