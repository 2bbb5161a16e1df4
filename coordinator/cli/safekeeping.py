"""The commands `backup` and `restore`: they work on the data folder, not over the network.

Owns their options and words, and how the configuration leads to the database. What is done stands
in coordinator/backup.
"""

from __future__ import annotations

import argparse
import time
from importlib import metadata
from pathlib import Path

import msgspec

from coordinator import config, data_folder
from coordinator.backup import restoring, saving
from coordinator.backup.manifest import CONFIG, DATABASE, BackupError
from coordinator.cli.client import Client, Refused, Usage
from coordinator.cli.output import Output
from coordinator.ports import StoreError

LEFT_OUT_SHOWN = 20


def add_backup(made: argparse.ArgumentParser) -> None:
    made.add_argument("file", metavar="FILE", type=Path, help="the file to be written")
    _add_folder(made, "the farm's data folder")
    made.add_argument("--config", type=Path, help="default: moonfleet.toml in the data folder")
    made.add_argument("--replace", action="store_true", help="replace a file of this name")
    which = made.add_mutually_exclusive_group()
    which.add_argument("--all-files", action="store_true", help="with all stored G-code")
    which.add_argument("--no-files", action="store_true", help="without stored G-code")


def add_restore(made: argparse.ArgumentParser) -> None:
    made.add_argument("file", metavar="FILE", type=Path, help="made by `moonfleet backup`")
    _add_folder(made, "the data folder to be made")
    made.add_argument(
        "--replace", action="store_true", help="keep the farm that is there beside it"
    )


def backup(_client: Client, args: argparse.Namespace, output: Output) -> None:
    """Write the file, and say what is in it and what is not."""
    if args.file.exists() and not args.replace:
        raise Usage(f"{args.file}: it is there already; give another name, or --replace")
    stored = saving.Stored.ALL if args.all_files else saving.Stored.UNFINISHED
    if args.no_files:
        stored = saving.Stored.NONE
    try:
        source = _source(args.data_dir, args.config or args.data_dir / CONFIG)
        manifest = saving.save(
            source, args.file, stored, product=metadata.version("moonfleet"), now_s=time.time()
        )
    except (config.ConfigError, StoreError) as error:
        raise Usage(str(error)) from error
    except (BackupError, OSError) as error:
        raise Refused(f"no backup was made: {error}") from error
    size_bytes = sum(member.size_bytes for member in manifest.members)
    lines = [
        f"{args.file}: {len(manifest.members)} files, {size_bytes} bytes, database"
        f" {manifest.schema or 'not included'}. It holds the farm's keys: keep it like one"
    ]
    lines += [f"not in it: {what}" for what in manifest.left_out[:LEFT_OUT_SHOWN]]
    if len(manifest.left_out) > LEFT_OUT_SHOWN:
        lines.append(f"and {len(manifest.left_out) - LEFT_OUT_SHOWN} more: see its manifest.json")
    answer = {"ok": True, "file": str(args.file), "manifest": msgspec.to_builtins(manifest)}
    output.show("\n".join(lines), answer)


def restore(_client: Client, args: argparse.Namespace, output: Output) -> None:
    """Make the data folder, and say what is left to do."""
    try:
        done = restoring.restore(args.file, args.data_dir, replace=args.replace)
    except data_folder.FolderInUse as error:
        raise Refused(f"{error}; stop it first: systemctl stop moonfleet") from error
    except (BackupError, OSError) as error:
        raise Refused(str(error)) from error
    made_at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(done.manifest.made_at))
    lines = [f"{args.data_dir}: the farm as of {made_at}"]
    if done.kept is not None:
        lines.append(f"what was there is kept in {done.kept}")
    if not done.manifest.schema:
        lines.append("the database is in PostgreSQL: restore it there with pg_restore")
    lines += _elsewhere(args.data_dir)
    lines.append("start the coordinator; hosts tell it what has happened since")
    answer = {
        "ok": True,
        "data_dir": str(args.data_dir),
        "kept": str(done.kept) if done.kept is not None else None,
        "manifest": msgspec.to_builtins(done.manifest),
    }
    output.show("\n".join(lines), answer)


def _add_folder(made: argparse.ArgumentParser, what: str) -> None:
    made.add_argument(
        "--data-dir", type=Path, default=data_folder.DEFAULT, metavar="DIR",
        help=f"{what} ({data_folder.DEFAULT})",
    )  # fmt: skip


def _source(folder: Path, config_file: Path) -> saving.Source:
    if not folder.is_dir():
        raise Usage(f"--data-dir {folder}: there is no such folder")
    return saving.Source(folder, config_file, _database(config_file, folder / DATABASE))


def _database(config_file: Path, default: Path) -> Path | None:
    """The file of the database that the coordinator uses; None: it is in PostgreSQL."""
    url = config.load(config_file, []).database_url
    if not url:
        return default
    # SQLAlchemy comes along: only farms with a database of their own choice pay for it.
    from coordinator.store.database import parsed, sqlite_file

    return sqlite_file(parsed(url))


def _elsewhere(folder: Path) -> list[str]:
    """What in the restored configuration does not fit this computer or this folder."""
    try:
        path = _database(folder / CONFIG, folder / DATABASE)
    except (config.ConfigError, StoreError) as error:
        return [f"its configuration does not fit here: {error}"]
    if path is None or path.resolve() == (folder / DATABASE).resolve():
        return []
    return [
        f"its configuration names the database {path}: move {folder / DATABASE} there, or take the"
        f" line database_url out of {folder / CONFIG}"
    ]
