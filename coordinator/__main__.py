"""`python -m coordinator serve`: the coordinator's process.

Owns its command line, its logging and its exit codes. The command line for people is cli.py.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from coordinator.app import serve
from coordinator.broker import BrokerFailed
from coordinator.broker_config import BrokerMissing
from coordinator.config import ConfigError, load
from coordinator.data_folder import DEFAULT, FolderInUse
from coordinator.engine import StoodDown
from coordinator.ports import StoreError, StoreUnusable, TermLost
from coordinator.trust.authority import TrustError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_STOOD_DOWN = 3
"""Another coordinator reigns: a service manager must not start this one again at once."""

EXIT_UNUSABLE = 4
"""The database is damaged or of a newer version: started again, it would end the same way."""


QUIET = ("tornado.access", "asyncio", "alembic.runtime.plugins", "aiosqlite")
"""Loggers that tell nothing below a warning, also with --verbose: aiosqlite tells the values that
go into the database, and there are proofs and digests among them."""


def quieten() -> None:
    """Keep out of the log what nobody needs and what nobody should read there."""
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def main() -> int:
    """Parse, run, and turn what ended it into a sentence and an exit code."""
    args = _arguments()
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    quieten()
    config_path = args.config or args.data_dir / "moonfleet.toml"
    try:
        if args.config is not None and not args.config.exists():
            raise ConfigError(f"{args.config}: there is no such file")
        config = load(config_path, args.set)
        asyncio.run(serve(config, args.data_dir))
    except ConfigError as error:
        return _ended(str(error), EXIT_USAGE)
    except (StoodDown, TermLost) as error:
        return _ended(f"stood down: {error}", EXIT_STOOD_DOWN)
    except StoreUnusable as error:
        return _ended(str(error), EXIT_UNUSABLE)
    except (StoreError, BrokerFailed, BrokerMissing, FolderInUse, TrustError, OSError) as error:
        return _ended(str(error), EXIT_FAILED)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m coordinator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("serve", help="run the coordinator in the foreground")
    run.add_argument("--data-dir", type=Path, default=DEFAULT)
    run.add_argument("--config", type=Path, help="default: moonfleet.toml in the data folder")
    run.add_argument(
        "--set", action="append", default=[], metavar="SECTION.OPTION=VALUE",
        help="lay one option over the file; may be repeated",
    )  # fmt: skip
    run.add_argument("--verbose", action="store_true")
    return parser.parse_args()


def _ended(text: str, code: int) -> int:
    print(f"error: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
