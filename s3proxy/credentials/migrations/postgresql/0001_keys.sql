-- The keys of s3proxy's clients, version 1: psql -v ON_ERROR_STOP=1 -f 0001_keys.sql
-- Each column is an option of a [[key]]; NULL if the option is absent.

BEGIN;

CREATE TABLE s3proxy_schema (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE s3proxy_keys (
    access_key_id text COLLATE "C" PRIMARY KEY CHECK (access_key_id ~ '^[!-+.0-~-]{1,128}$'),
    -- One secret, or two while clients change over: ARRAY['former', 'new'].
    secret_access_key text[] NOT NULL CHECK (
        cardinality(secret_access_key) IN (1, 2)
        AND array_position(secret_access_key, NULL) IS NULL
        AND '' <> ALL (secret_access_key)
    ),
    session_token text CHECK (session_token <> ''),
    expires timestamptz CHECK (isfinite(expires)),
    disabled boolean NOT NULL DEFAULT false,
    backend text CHECK (backend <> ''),
    backend_key text[] CHECK (cardinality(backend_key) > 0),
    exempt text[],
    refuse text[],
    requests integer CHECK (requests BETWEEN 0 AND 1000000),
    bodies integer CHECK (bodies BETWEEN 0 AND 1000000),
    requests_per_second integer CHECK (requests_per_second BETWEEN 0 AND 1000000000),
    bytes_per_second bigint CHECK (bytes_per_second BETWEEN 0 AND 1099511627776),
    allow text[],
    deny text[],
    networks text[],
    read_only boolean
);

-- Every change is told to the processes of s3proxy, which listen: the access key id, or nothing if it may be any key.
CREATE FUNCTION s3proxy_keys_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('s3proxy_keys', '');
        RETURN NULL;
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        PERFORM pg_notify('s3proxy_keys', OLD.access_key_id);
    END IF;
    -- The server tells two equal notifications of one transaction only once.
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        PERFORM pg_notify('s3proxy_keys', NEW.access_key_id);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER s3proxy_keys_changed AFTER INSERT OR UPDATE OR DELETE ON s3proxy_keys
    FOR EACH ROW EXECUTE FUNCTION s3proxy_keys_changed();

CREATE TRIGGER s3proxy_keys_emptied AFTER TRUNCATE ON s3proxy_keys
    FOR EACH STATEMENT EXECUTE FUNCTION s3proxy_keys_changed();

INSERT INTO s3proxy_schema (version) VALUES (1);

COMMIT;
