-- A queue of layout 1 (user_version), which the versions before 0.1.0 made: a message for two recipients. The tests of upgrades
-- begin with it.
PRAGMA page_size = 4096;
PRAGMA journal_mode = wal;
BEGIN;
CREATE TABLE message (
  id INTEGER PRIMARY KEY,
  created INTEGER NOT NULL,
  sender TEXT NOT NULL,
  size INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  ret TEXT,
  envid TEXT,
  file TEXT,
  open INTEGER NOT NULL
);
CREATE TABLE body (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE recipient (
  message INTEGER NOT NULL,
  n INTEGER NOT NULL,
  state INTEGER NOT NULL,
  domain TEXT NOT NULL,
  due INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  owner INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  address TEXT NOT NULL,
  notify TEXT,
  orcpt TEXT,
  route TEXT,
  last_at INTEGER,
  last_host TEXT,
  last_ip TEXT,
  last_kind TEXT,
  last_code INTEGER,
  last_enhanced TEXT,
  last_reply TEXT,
  PRIMARY KEY (message, n)
) WITHOUT ROWID;
CREATE INDEX recipient_due ON recipient (domain, due) WHERE state = 0;
CREATE INDEX recipient_owner ON recipient (owner) WHERE state = 1;
CREATE TABLE attempt (
  message INTEGER NOT NULL,
  n INTEGER NOT NULL,
  number INTEGER NOT NULL,
  at INTEGER NOT NULL,
  host TEXT,
  ip TEXT,
  kind TEXT,
  code INTEGER,
  enhanced TEXT,
  reply TEXT NOT NULL,
  PRIMARY KEY (message, n, number)
) WITHOUT ROWID;
CREATE TABLE run (owner INTEGER PRIMARY KEY, boot TEXT NOT NULL);
CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), seen INTEGER NOT NULL);
INSERT INTO message (id, created, sender, size, flags, ret, envid, file, open)
  VALUES (1795000000000000, 1795000000000, 'a@a.test', 23, 0, NULL, NULL, NULL, 2);
INSERT INTO body VALUES (1795000000000000, CAST('Subject: kept' || char(13, 10, 13, 10) || 'kept' || char(13, 10) AS BLOB));
INSERT INTO recipient (message, n, state, domain, due, attempts, owner, generation, flags, address) VALUES
  (1795000000000000, 0, 0, 'one.test', 1795000000000, 0, 0, 0, 0, 'x@one.test'),
  (1795000000000000, 1, 0, 'two.test', 1795000000000, 0, 0, 0, 0, 'y@two.test');
PRAGMA user_version = 1;
COMMIT;
