-- A refresh is followed to its end. One is open a stream: a second request meanwhile is the same wish.
-- It closes when the new baseline is complete, or, without `baseline_after`, when the detector passed it by.
ALTER TABLE baseline_refreshes
    ADD COLUMN partition integer,
    ADD COLUMN requester text,
    ADD COLUMN baseline_after text,
    ADD COLUMN closed_at timestamptz;

-- nobody followed the earlier ones
UPDATE baseline_refreshes SET closed_at = requested_at;

CREATE UNIQUE INDEX baseline_refreshes_one_open ON baseline_refreshes (stream_id) WHERE closed_at IS NULL;
CREATE INDEX baseline_refreshes_open ON baseline_refreshes (partition) WHERE closed_at IS NULL;
