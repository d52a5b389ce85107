-- The keys of s3proxy's clients, version 1: sqlite3 keys.sqlite < 0001_keys.sql
-- Each column is an option of a [[key]]; NULL if the option is absent. Lists are JSON arrays.

BEGIN;

CREATE TABLE s3proxy_schema (
    version INTEGER NOT NULL PRIMARY KEY,
    applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE s3proxy_keys (
    access_key_id TEXT NOT NULL PRIMARY KEY
        CHECK (length(access_key_id) BETWEEN 1 AND 128 AND access_key_id NOT GLOB '*[^!-+.0-~-]*'),
    -- One secret, or two while clients change over: json_array('former', 'new').
    secret_access_key TEXT NOT NULL
        CHECK (json_type(secret_access_key) = 'array' AND json_array_length(secret_access_key) BETWEEN 1 AND 2),
    session_token TEXT CHECK (session_token <> ''),
    -- ISO 8601 with a UTC offset: 2030-01-01T00:00:00Z
    expires TEXT CHECK (expires IS NULL OR (julianday(expires) IS NOT NULL
        AND (expires LIKE '%Z' OR expires GLOB '*[+-][0-9][0-9]:[0-9][0-9]'))),
    disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    backend TEXT CHECK (backend <> ''),
    backend_key TEXT CHECK (json_type(backend_key) = 'array' AND json_array_length(backend_key) > 0),
    exempt TEXT CHECK (json_type(exempt) = 'array'),
    refuse TEXT CHECK (json_type(refuse) = 'array'),
    requests INTEGER CHECK (requests BETWEEN 0 AND 1000000),
    bodies INTEGER CHECK (bodies BETWEEN 0 AND 1000000),
    requests_per_second INTEGER CHECK (requests_per_second BETWEEN 0 AND 1000000000),
    bytes_per_second INTEGER CHECK (bytes_per_second BETWEEN 0 AND 1099511627776),
    allow TEXT CHECK (json_type(allow) = 'array'),
    deny TEXT CHECK (json_type(deny) = 'array'),
    networks TEXT CHECK (json_type(networks) = 'array'),
    read_only INTEGER CHECK (read_only IN (0, 1))
) WITHOUT ROWID;

INSERT INTO s3proxy_schema (version) VALUES (1);

COMMIT;
