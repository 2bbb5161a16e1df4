"""The farm's key for download links: made once, kept in the database, part of every backup.

Owns where the key is and how it is made. What is signed with it is core/links.py's.
"""

from __future__ import annotations

import secrets

import msgspec

from coordinator.core.links import LinkKey
from coordinator.store.sql import SqlStore

SETTING = "download_link_key"
KEY_BYTES = 32


async def link_key(store: SqlStore) -> LinkKey:
    """The key, made at the first start; of two coordinators that make it at once, one's stays."""
    made = secrets.token_hex(KEY_BYTES)
    await store.make_setting(SETTING, msgspec.json.encode(made))
    kept = await store.reads.setting(SETTING)
    if kept is None:
        raise RuntimeError(f"setting {SETTING} is gone in the moment after it was made")
    return LinkKey(bytes.fromhex(msgspec.json.decode(kept, type=str)))
