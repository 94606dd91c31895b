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

_JOBS = """
CREATE TABLE job (
  no INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  payload BLOB NOT NULL,
  title TEXT NOT NULL,
  subject TEXT NOT NULL,
  caller TEXT NOT NULL,
  priority INTEGER NOT NULL,
  created INTEGER NOT NULL,
  state TEXT NOT NULL,
  key TEXT,
  unique_name TEXT,
  unique_for_ms INTEGER NOT NULL,
  not_before INTEGER,
  due INTEGER,
  started INTEGER,
  ended INTEGER,
  attempt INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  begun INTEGER NOT NULL,
  breaks INTEGER NOT NULL,
  worker TEXT,
  cancelling INTEGER NOT NULL,
  failure BLOB,
  progress REAL
);
CREATE INDEX job_queued ON job (priority, no) WHERE state = 'queued';
CREATE INDEX job_due ON job (due) WHERE state = 'scheduled';
CREATE INDEX job_running ON job (worker) WHERE state = 'running';
CREATE INDEX job_key ON job (key) WHERE key IS NOT NULL AND ended IS NULL;
CREATE INDEX job_unique ON job (unique_name) WHERE unique_name IS NOT NULL;
CREATE INDEX job_ended ON job (ended) WHERE ended IS NOT NULL;
CREATE INDEX job_subject ON job (subject, no);
CREATE INDEX job_kind ON job (kind, no);
CREATE TABLE job_step (
  no INTEGER PRIMARY KEY,
  job INTEGER NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL,
  started INTEGER NOT NULL,
  ended INTEGER,
  attempts INTEGER NOT NULL,
  result BLOB,
  UNIQUE (job, name)
);
CREATE TABLE job_schedule (
  name TEXT PRIMARY KEY,
  definition BLOB NOT NULL,
  planned INTEGER NOT NULL,
  due INTEGER NOT NULL,
  last TEXT
) WITHOUT ROWID;
"""

MIGRATIONS: tuple[str, ...] = (_LOGS + _LOCAL + _AUDIT, _JOBS)
"""Released migrations never change; a new one is added at the end."""
