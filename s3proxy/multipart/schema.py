"""
The tables of the uploads database.
"""

from __future__ import annotations

from s3proxy.s3.limits import KIB

LEAST_COST = 64 * KIB
"""
Minimum number of bytes that each part is counted as. Even an empty part is a file and a row, and a key may send ten
thousand parts for each of its uploads.
"""

OPEN, COMPLETING, DONE = range(3)
"""
Values of ``uploads.state``.
"""

VERSION = 1
COUNTING = """
CREATE TRIGGER COUNTED_in AFTER INSERT ON COUNTED BEGIN
    UPDATE usage SET size = size + NEW.size, cost = cost + max(NEW.size, LEAST_COST);
    INSERT INTO owners VALUES (NEW.owner, max(NEW.size, LEAST_COST))
        ON CONFLICT (owner) DO UPDATE SET cost = cost + excluded.cost;
END;
CREATE TRIGGER COUNTED_out AFTER DELETE ON COUNTED BEGIN
    UPDATE usage SET size = size - OLD.size, cost = cost - max(OLD.size, LEAST_COST);
    UPDATE owners SET cost = cost - max(OLD.size, LEAST_COST) WHERE owner = OLD.owner;
    DELETE FROM owners WHERE owner = OLD.owner AND cost = 0;
END;
"""
SCHEMA = """
CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    backend TEXT NOT NULL,
    account TEXT NOT NULL,
    bucket BLOB NOT NULL,
    key BLOB NOT NULL,
    owner TEXT NOT NULL,
    headers TEXT NOT NULL,
    begun_at REAL NOT NULL,
    state INTEGER NOT NULL,
    completer TEXT,
    ended_at REAL,
    digest BLOB,
    etag TEXT
) WITHOUT ROWID;
CREATE INDEX uploads_by_place ON uploads (backend, account, bucket, key, id) WHERE state < 2;
CREATE INDEX uploads_by_owner ON uploads (owner) WHERE state < 2;
CREATE INDEX uploads_done ON uploads (owner, ended_at) WHERE state = 2;
CREATE INDEX uploads_by_time ON uploads (begun_at);
CREATE TABLE parts (
    upload TEXT NOT NULL,
    number INTEGER NOT NULL,
    size INTEGER NOT NULL,
    md5 BLOB NOT NULL,
    file TEXT NOT NULL UNIQUE,
    checksums TEXT NOT NULL,
    modified_at REAL NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
CREATE TABLE reservations (
    file TEXT PRIMARY KEY,
    process TEXT NOT NULL,
    upload TEXT NOT NULL,
    size INTEGER NOT NULL,
    owner TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE usage (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    uploads INTEGER NOT NULL
);
INSERT INTO usage VALUES (1, 0, 0, 0);
CREATE TABLE owners (
    owner TEXT PRIMARY KEY,
    cost INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER upload_in AFTER INSERT ON uploads
    BEGIN UPDATE usage SET uploads = uploads + 1; END;
CREATE TRIGGER upload_done AFTER UPDATE OF state ON uploads WHEN NEW.state = 2 AND OLD.state < 2
    BEGIN UPDATE usage SET uploads = uploads - 1; END;
CREATE TRIGGER upload_out AFTER DELETE ON uploads WHEN OLD.state < 2
    BEGIN UPDATE usage SET uploads = uploads - 1; END;
"""
"""
The limits are checked against ``usage`` and ``owners``. Triggers keep both up to date with every change to the other
tables, so that nothing is counted each time.
"""
