-- The first schema. Every table has its tenant; times are timestamptz; text never holds NUL (the writers
-- replace it visibly). Migrations only ever go forward: to change something here, add a file.

CREATE EXTENSION IF NOT EXISTS pg_trgm;

-- One row: what all replicas of an installation share. 244 random bits, folded to 256.
CREATE TABLE installation (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id            uuid NOT NULL DEFAULT gen_random_uuid(),
    cursor_secret bytea NOT NULL DEFAULT sha256((gen_random_uuid()::text || gen_random_uuid()::text)::bytea),
    created_at    timestamptz NOT NULL DEFAULT now()
);
INSERT INTO installation DEFAULT VALUES;

-- Sets updated_at and counts revisions: the revision is the row's ETag.
CREATE FUNCTION touch_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    NEW.revision := OLD.revision + 1;
    RETURN NEW;
END $$;

-- Anomalies. The id's first 48 bits are the timestamp's millisecond, so a look-up by id alone can name the
-- range of timestamps, and with it the one partition that may hold the row.
CREATE TABLE anomalies (
    id                         uuid NOT NULL,
    tenant_id                  text NOT NULL DEFAULT 'default',
    timestamp                  timestamptz NOT NULL,
    stream_type                text NOT NULL CHECK (stream_type IN ('logs', 'metrics', 'traces', 'llm')),
    stream                     text NOT NULL,
    stream_id                  uuid,
    service                    text NOT NULL,
    severity                   text NOT NULL CHECK (severity IN ('critical', 'high', 'medium', 'low')),
    status                     text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'acknowledged', 'investigating', 'dismissed', 'resolved')),
    ncd_score                  double precision,
    p_value                    double precision CHECK (p_value BETWEEN 0 AND 1),
    confidence_level           double precision,
    is_statistically_significant boolean NOT NULL DEFAULT false,
    compression_baseline       bigint,
    compression_window         bigint,
    compression_combined       bigint,
    compression_ratio_baseline double precision,
    compression_ratio_window   double precision,
    compression_ratio_change   double precision,
    baseline_entropy           double precision,
    window_entropy             double precision,
    entropy_change             double precision,
    surprise_bits              double precision,
    glass_box_explanation      text NOT NULL DEFAULT '',
    detailed_explanation       jsonb NOT NULL DEFAULT '{}',
    baseline_ref               text,
    window_start               timestamptz,
    window_end                 timestamptz,
    log_position               bigint,
    partition                  integer,
    detector_version           text,
    config_version             integer,
    tags                       text[] NOT NULL DEFAULT '{}',
    metadata                   jsonb NOT NULL DEFAULT '{}',
    trace_ids                  text[] NOT NULL DEFAULT '{}',
    source                     text NOT NULL DEFAULT 'detector' CHECK (source IN ('detector', 'api')),
    acknowledged_by            text,
    acknowledged_at            timestamptz,
    dismissed_by               text,
    dismissed_at               timestamptz,
    resolved_by                text,
    resolved_at                timestamptz,
    notes                      text,
    reason                     text,
    -- casefolded by the writer, so that a search means the same in SQL and in the live feed
    search_text                text NOT NULL DEFAULT '',
    revision                   integer NOT NULL DEFAULT 1,
    created_at                 timestamptz NOT NULL DEFAULT now(),
    updated_at                 timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, timestamp)
) PARTITION BY RANGE (timestamp);

-- Clocks far off land here; rows move out when their month gets its own partition.
CREATE TABLE anomalies_default PARTITION OF anomalies DEFAULT;

CREATE INDEX anomalies_newest ON anomalies (tenant_id, timestamp DESC, id DESC);
CREATE INDEX anomalies_by_stream_type ON anomalies (tenant_id, stream_type, timestamp DESC, id DESC);
CREATE INDEX anomalies_by_status ON anomalies (tenant_id, status, timestamp DESC, id DESC);
CREATE INDEX anomalies_by_severity ON anomalies (tenant_id, severity, timestamp DESC, id DESC);
CREATE INDEX anomalies_by_service ON anomalies (tenant_id, service, timestamp DESC, id DESC);
CREATE INDEX anomalies_by_stream ON anomalies (tenant_id, stream, timestamp DESC, id DESC);
CREATE INDEX anomalies_significant ON anomalies (tenant_id, timestamp DESC, id DESC)
    WHERE is_statistically_significant;
CREATE INDEX anomalies_tags ON anomalies USING gin (tags);
CREATE INDEX anomalies_metadata ON anomalies USING gin (metadata jsonb_path_ops);
CREATE INDEX anomalies_search ON anomalies USING gin (search_text gin_trgm_ops);

CREATE TRIGGER anomalies_touch BEFORE UPDATE ON anomalies FOR EACH ROW EXECUTE FUNCTION touch_row();

-- Makes the partition of one month, moving rows that the default partition already holds for it.
CREATE FUNCTION make_anomaly_partition(month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    first timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
    next  timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    name  text := 'anomalies_' || to_char(month, 'YYYY_MM');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    LOCK TABLE anomalies IN SHARE ROW EXCLUSIVE MODE;
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE anomalies INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format('WITH moved AS (DELETE FROM anomalies_default WHERE timestamp >= %L AND timestamp < %L'
                   ' RETURNING *) INSERT INTO %I SELECT * FROM moved', first, next, name);
    EXECUTE format('ALTER TABLE anomalies ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first, next);
    RETURN true;
END $$;

-- Partitions for the month before `present` and for `months` ahead of it; the number made.
CREATE FUNCTION make_anomaly_partitions(present timestamptz, months integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    made integer := 0;
    step integer;
BEGIN
    FOR step IN -1 .. months LOOP
        IF make_anomaly_partition(
            (date_trunc('month', present AT TIME ZONE 'UTC') + make_interval(months => step))::date) THEN
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;

SELECT make_anomaly_partitions(now(), 3);

-- Who changed an anomaly's status, and when.
CREATE TABLE anomaly_status_changes (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id    text NOT NULL,
    anomaly_id   uuid NOT NULL,
    from_status  text NOT NULL,
    to_status    text NOT NULL,
    changed_by   text NOT NULL,
    changed_at   timestamptz NOT NULL DEFAULT now(),
    notes        text,
    reason       text
);
CREATE INDEX anomaly_status_changes_of ON anomaly_status_changes (anomaly_id, id);

-- The feed: its order is commit order, and it has no gaps. A sequence would give numbers out before commit,
-- so a reader could see 8 before 7 and skip 7 for ever. Here the counter is a row: whoever appends holds its
-- lock until commit, so 8 is given out only after 7 is visible. Append last in a transaction: the lock is one
-- for the installation.
CREATE TABLE feed (
    position   bigint PRIMARY KEY,
    tenant_id  text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('anomaly', 'status')),
    anomaly_id uuid NOT NULL,
    timestamp  timestamptz NOT NULL,
    payload    jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feed_created ON feed (created_at);

CREATE TABLE feed_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint NOT NULL DEFAULT 0,
    -- the greatest position that was pruned: whoever asks from before it must resynchronise
    pruned   bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO feed_head DEFAULT VALUES;

CREATE FUNCTION feed_append(
    kind text, tenants text[], anomaly_ids uuid[], timestamps timestamptz[], payload jsonb DEFAULT NULL
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
    size integer := coalesce(array_length(anomaly_ids, 1), 0);
BEGIN
    UPDATE feed_head SET position = feed_head.position + size RETURNING feed_head.position INTO last;
    INSERT INTO feed (position, tenant_id, kind, anomaly_id, timestamp, payload)
    SELECT last - size + row.n, row.tenant, feed_append.kind, row.anomaly, row.happened, feed_append.payload
    FROM unnest(tenants, anomaly_ids, timestamps) WITH ORDINALITY AS row (tenant, anomaly, happened, n);
    PERFORM pg_notify('driftlock_feed', last::text);
    RETURN last;
END $$;

CREATE TABLE detection_config (
    tenant_id         text NOT NULL DEFAULT 'default',
    version           integer NOT NULL CHECK (version > 0),
    active            boolean NOT NULL,
    ncd_threshold     double precision NOT NULL CHECK (ncd_threshold BETWEEN 0 AND 1),
    p_value_threshold double precision NOT NULL CHECK (p_value_threshold > 0 AND p_value_threshold < 1),
    baseline_size     integer NOT NULL,
    window_size       integer NOT NULL,
    hop_size          integer NOT NULL CHECK (hop_size > 0),
    stream_overrides  jsonb NOT NULL DEFAULT '{}',
    settings          jsonb NOT NULL DEFAULT '{}',
    created_by        text NOT NULL DEFAULT 'driftlock',
    created_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, version),
    CONSTRAINT detection_config_sizes CHECK (baseline_size >= window_size AND window_size >= hop_size)
);
CREATE UNIQUE INDEX detection_config_one_active ON detection_config (tenant_id) WHERE active;
INSERT INTO detection_config
    (version, active, ncd_threshold, p_value_threshold, baseline_size, window_size, hop_size)
VALUES (1, true, 0.3, 0.05, 400, 50, 25);

CREATE TABLE performance_metrics (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   text NOT NULL DEFAULT 'default',
    recorded_at timestamptz NOT NULL DEFAULT now(),
    component   text NOT NULL,
    instance    text NOT NULL DEFAULT '',
    name        text NOT NULL,
    value       double precision NOT NULL,
    labels      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX performance_metrics_by_name ON performance_metrics (tenant_id, name, recorded_at DESC);

-- Only the hash of a key is kept. The secret has 256 random bits, so a plain SHA-256 cannot be searched.
CREATE TABLE api_keys (
    id                    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id             text NOT NULL DEFAULT 'default',
    name                  text NOT NULL CHECK (name <> ''),
    prefix                text NOT NULL,
    secret_sha256         bytea NOT NULL CHECK (length(secret_sha256) = 32),
    role                  text NOT NULL CHECK (role IN ('admin', 'analyst', 'viewer')),
    scopes                text[] NOT NULL DEFAULT '{}',
    rate_limit_per_minute integer CHECK (rate_limit_per_minute > 0),
    created_at            timestamptz NOT NULL DEFAULT now(),
    expires_at            timestamptz,
    revoked_at            timestamptz,
    last_used_at          timestamptz,
    CONSTRAINT api_keys_secret UNIQUE (secret_sha256)
);
CREATE UNIQUE INDEX api_keys_name ON api_keys (tenant_id, name) WHERE revoked_at IS NULL;

-- Answers to requests that carried an Idempotency-Key, so that a repeat gets the same answer.
CREATE TABLE idempotency_keys (
    tenant_id    text NOT NULL,
    owner        text NOT NULL,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    anomaly_id   uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, owner, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

CREATE TABLE streams (
    id               uuid PRIMARY KEY,
    tenant_id        text NOT NULL DEFAULT 'default',
    signal           text NOT NULL CHECK (signal IN ('logs', 'metrics', 'traces', 'llm')),
    name             text NOT NULL,
    service          text NOT NULL,
    attributes       jsonb NOT NULL DEFAULT '{}',
    partition        integer NOT NULL,
    phase            text NOT NULL CHECK (phase IN ('learning', 'calibrating', 'ready')),
    units_seen       bigint NOT NULL DEFAULT 0,
    units_needed     bigint NOT NULL DEFAULT 0,
    events_seen      bigint NOT NULL DEFAULT 0,
    calibration_size bigint NOT NULL DEFAULT 0,
    earliest_p       double precision,
    bytes_held       bigint NOT NULL DEFAULT 0,
    anomalies_found  bigint NOT NULL DEFAULT 0,
    baseline_ref     text,
    last_event_at    timestamptz,
    first_seen_at    timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
CREATE INDEX streams_by_name ON streams (tenant_id, name, id);
CREATE INDEX streams_by_service ON streams (tenant_id, service, name, id);

CREATE TABLE baselines (
    sha256     text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    tenant_id  text NOT NULL DEFAULT 'default',
    stream_id  uuid,
    bytes      bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, sha256)
);
ALTER TABLE baselines ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE INDEX baselines_of_stream ON baselines (stream_id, created_at DESC);

CREATE TABLE partition_checkpoints (
    partition   integer PRIMARY KEY,
    position    bigint NOT NULL,
    received_ns bigint NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- States come compressed: EXTERNAL spares PostgreSQL a second, futile compression.
CREATE TABLE stream_states (
    partition  integer NOT NULL,
    stream_id  uuid NOT NULL,
    kind       text NOT NULL,
    state      bytea NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, stream_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE stream_states ALTER COLUMN state SET STORAGE EXTERNAL;
