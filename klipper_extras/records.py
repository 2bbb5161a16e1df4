"""What `[moonfleet]` keeps on disk: the bed latch, its token, a record per attempt.

Owns the files of state_dir and their durability. Must not know Klipper; decides nothing.
Every function may raise OSError, and ValueError where a file is not what it should be. All of
them block: inside Klipper they run on the thread of disk.py.

    state_dir/bed_clear              the token, while the bed is clear; absent: not clear
    state_dir/bed_token              the current token
    state_dir/records/<attempt>.json one per attempt, the newest KEEP_RECORDS
"""
import collections
import contextlib
import json
import os

from . import rules

CLEAR_FILE = "bed_clear"
TOKEN_FILE = "bed_token"
RECORDS_DIR = "records"
RECORD_EXT = ".json"
TMP_EXT = ".tmp"
KEEP_RECORDS = 64
FILE_BYTES_MAX = 65536

# clear_text, token_text: None where the file is missing. can_drop: the folder takes an unlink.
# problems: texts for the log.
State = collections.namedtuple("State", "clear_text token_text can_drop records problems")


######################################################################
# Durable primitives
######################################################################

def _sync_folder(folder):
    # A rename or unlink is only on disk once the folder that holds the name is.
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_folder(folder):
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    _make_folder(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)
    _sync_folder(parent)


def write_durable(path, text):
    """Replace the file at path by text: all of it or nothing, also after a power cut."""
    folder = os.path.dirname(path)
    _make_folder(folder)
    tmp = path + TMP_EXT
    try:
        with open(tmp, "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.rename(tmp, path)
    except OSError:
        # Give the space back: the disk may be full because of just this file.
        with contextlib.suppress(OSError):
            os.unlink(tmp)
        raise
    _sync_folder(folder)


def remove_durable(paths):
    """Remove the files at paths, in one folder each missing one is fine; needs no free space."""
    folders = []
    for path in paths:
        folder = os.path.dirname(path)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        if os.path.isdir(folder) and folder not in folders:
            folders.append(folder)
    for folder in folders:
        _sync_folder(folder)


def _read_text(path):
    try:
        with open(path, encoding="utf-8") as f:
            text = f.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    if len(text) > FILE_BYTES_MAX:
        raise ValueError("%s: larger than %d bytes" % (path, FILE_BYTES_MAX))
    return text


######################################################################
# Latch
######################################################################

def set_clear(folder, token):
    """Write that the bed is clear under token."""
    write_durable(os.path.join(folder, TOKEN_FILE), token)
    write_durable(os.path.join(folder, CLEAR_FILE), token)


def drop_clear(folder):
    """Remove what says clear, and the token with it: a late clear must not find it again."""
    remove_durable([os.path.join(folder, CLEAR_FILE), os.path.join(folder, TOKEN_FILE)])


def write_token(folder, token):
    """Write the token that the next clear has to name."""
    write_durable(os.path.join(folder, TOKEN_FILE), token)


######################################################################
# Records
######################################################################

def _record_path(folder, attempt):
    # The last guard before a path: callers have checked it, a file name may have been planted.
    if not rules.is_safe_name(attempt):
        raise ValueError("attempt %r is no safe file name" % (attempt,))
    return os.path.join(folder, RECORDS_DIR, attempt + RECORD_EXT)


def write_record(folder, record):
    """Write one record durably."""
    text = json.dumps(record._asdict(), sort_keys=True)
    write_durable(_record_path(folder, record.attempt), text)


def remove_records(folder, attempts):
    """Remove the records of attempts."""
    remove_durable([_record_path(folder, attempt) for attempt in attempts])


def parse_record(attempt, text):
    """Return the Record in text, or raise ValueError naming the field that is wrong."""
    try:
        data = json.loads(text)
    except RecursionError as e:
        raise ValueError("record of %s is nested too deeply" % (attempt,)) from e
    if not isinstance(data, dict):
        raise ValueError("record of %s is no JSON object" % (attempt,))
    for field in rules.Record._fields:
        wanted = int if field == "serial" else str
        if not isinstance(data.get(field), wanted):
            raise ValueError("record of %s: field %s is %r, wanted is %s"
                             % (attempt, field, data.get(field), wanted.__name__))
    values = {f: data[f] if f == "serial" else rules.plain_text(data[f], rules.REASON_MAX)
              for f in rules.Record._fields}
    record = rules.Record(**values)
    if record.attempt != attempt:
        raise ValueError("record of %s calls itself %s" % (attempt, record.attempt))
    if record.state != "started" and (record.state != "ended"
                                      or record.outcome not in rules.OUTCOMES):
        raise ValueError("record of %s: state %r with outcome %r"
                         % (attempt, record.state, record.outcome))
    return record


def _read_records(folder):
    found, problems = [], []
    try:
        names = sorted(os.listdir(os.path.join(folder, RECORDS_DIR)))
    except FileNotFoundError:
        names = []
    for name in names:
        attempt = name[:-len(RECORD_EXT)]
        if not name.endswith(RECORD_EXT) or not rules.is_safe_name(attempt):
            continue
        try:
            text = _read_text(_record_path(folder, attempt))
            if text is not None:
                found.append(parse_record(attempt, text))
        except (OSError, ValueError) as e:
            # The name alone proves that this attempt was started: never lose that.
            problems.append(str(e))
            found.append(rules.Record(attempt, "", "", "", "ended", "interrupted",
                                      "the record on disk cannot be read", 0))
    found.sort(key=lambda r: (r.serial, r.attempt))
    return found, problems


def read_state(folder):
    """Return the State of folder. Never raises: what cannot be read is a problem, not clear."""
    problems, texts = [], []
    for name in (CLEAR_FILE, TOKEN_FILE):
        try:
            texts.append(_read_text(os.path.join(folder, name)))
        except (OSError, ValueError) as e:
            problems.append(str(e))
            texts.append(None)
    try:
        found, more = _read_records(folder)
    except OSError as e:
        found, more = [], [str(e)]
    can_drop = os.access(folder, os.W_OK | os.X_OK)
    return State(texts[0], texts[1], can_drop, found, problems + more)
