"""The tables of `covey.db`, as a list of forward migrations; `user_version` counts those applied.

An entry's number is its log's number `<< 40` plus its sequence number, so that a log lies in one
piece and grows at its end. A version of a key stands in `leaf` while it is current, with its value
for fast reads, and in `past` from then on.
"""

from __future__ import annotations

SEQ_BITS = 40


_LOGS = """
CREATE TABLE log (
  no INTEGER PRIMARY KEY,
  origin TEXT NOT NULL UNIQUE,
  seq INTEGER NOT NULL DEFAULT 0,
  chain BLOB
);
CREATE TABLE collection (no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE generation (no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE);
CREATE TABLE entry (
  id INTEGER PRIMARY KEY,
  hlc INTEGER NOT NULL,
  collection INTEGER NOT NULL,
  key_hash BLOB NOT NULL,
  generation INTEGER NOT NULL,
  payload BLOB,
  digest BLOB NOT NULL,
  signature BLOB NOT NULL
);
CREATE INDEX entry_by_generation ON entry (generation) WHERE payload IS NOT NULL;
CREATE TABLE held (entry INTEGER PRIMARY KEY, hlc INTEGER NOT NULL);
CREATE TABLE quarantine (entry INTEGER PRIMARY KEY, reason TEXT NOT NULL, frame BLOB NOT NULL);
CREATE TABLE key (
  id INTEGER PRIMARY KEY,
  collection INTEGER NOT NULL,
  name TEXT NOT NULL,
  UNIQUE (collection, name)
);
CREATE TABLE leaf (
  key INTEGER NOT NULL,
  entry INTEGER NOT NULL,
  hlc INTEGER NOT NULL,
  contested INTEGER NOT NULL,
  context BLOB,
  value BLOB,
  PRIMARY KEY (key, entry)
) WITHOUT ROWID;
CREATE INDEX leaf_contested ON leaf (key) WHERE contested = 1;
CREATE TABLE past (
  key INTEGER NOT NULL,
  entry INTEGER NOT NULL,
  compacted INTEGER NOT NULL,
  PRIMARY KEY (key, entry)
) WITHOUT ROWID;
CREATE INDEX past_entry ON past (entry) WHERE compacted = 0;
"""

_LOCAL = """
CREATE TABLE local (
  namespace TEXT NOT NULL,
  key TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (namespace, key)
) WITHOUT ROWID;
"""

_AUDIT = """
CREATE TABLE audit (
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  at TEXT NOT NULL,
  caller TEXT NOT NULL,
  kind TEXT NOT NULL,
  role TEXT NOT NULL,
  address TEXT NOT NULL,
  operation TEXT NOT NULL,
  target TEXT NOT NULL,
  outcome TEXT NOT NULL,
  request_id TEXT NOT NULL
);
"""

MIGRATIONS: tuple[str, ...] = (_LOGS + _LOCAL + _AUDIT,)
"""Released migrations never change; a new one is added at the end."""
