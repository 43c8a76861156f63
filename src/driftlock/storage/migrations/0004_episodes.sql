-- An anomaly is the beginning of an episode: how far that goes is told as it grows and when it is over.
-- Null where there is none: sessions, traces, lasting drift, and what was found elsewhere.
ALTER TABLE anomalies ADD COLUMN episode jsonb;

ALTER TABLE feed DROP CONSTRAINT feed_kind_check;
ALTER TABLE feed ADD CONSTRAINT feed_kind_check CHECK (kind IN ('anomaly', 'status', 'episode'));
