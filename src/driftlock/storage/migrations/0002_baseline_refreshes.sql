-- A refresh is a recorded act: who asked that a stream learns anew, when, and where in the log it stands.
-- The record is made first; without a position the request did not reach the log.
CREATE TABLE baseline_refreshes (
    id              uuid PRIMARY KEY,
    tenant_id       text NOT NULL DEFAULT 'default',
    stream_id       uuid NOT NULL,
    requested_by    text NOT NULL,
    requested_at    timestamptz NOT NULL DEFAULT now(),
    baseline_before text,
    log_position    bigint
);
CREATE INDEX baseline_refreshes_of_stream ON baseline_refreshes (stream_id, requested_at DESC);
