-- Every query of Driftlock, by table. A name is what `driftlock_database_query_duration_seconds{query}` shows.
-- {slots} are filled with SQL of our own making (never with values); values are always $n.

-- name: anomalies_insert
INSERT INTO anomalies (
    id, tenant_id, timestamp, stream_type, stream, stream_id, service, severity, status,
    ncd_score, p_value, confidence_level, is_statistically_significant,
    compression_baseline, compression_window, compression_combined,
    compression_ratio_baseline, compression_ratio_window, compression_ratio_change,
    baseline_entropy, window_entropy, entropy_change, surprise_bits,
    glass_box_explanation, detailed_explanation, baseline_ref, window_start, window_end,
    log_position, partition, detector_version, config_version,
    tags, metadata, trace_ids, source, search_text, episode
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
    $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38
)
ON CONFLICT DO NOTHING
RETURNING id, tenant_id, timestamp

-- name: episode_follow
UPDATE anomalies SET episode = $4
WHERE id = $1 AND tenant_id = $2 AND timestamp = $3
    -- a replay tells again what is known: only growth and the end are news
    AND (episode ->> 'open')::boolean AND ($5::bigint > (episode ->> 'units')::bigint OR NOT $6)
RETURNING revision

-- name: anomaly_get
SELECT {columns} FROM anomalies
WHERE id = $1 AND tenant_id = $2 AND timestamp >= $3 AND timestamp < $4

-- name: anomaly_lock
SELECT status, revision, timestamp FROM anomalies
WHERE id = $1 AND tenant_id = $2 AND timestamp >= $3 AND timestamp < $4
FOR UPDATE

-- name: anomaly_set_status
UPDATE anomalies SET
    status = $4,
    acknowledged_by = CASE WHEN $4 = 'acknowledged' THEN $5 ELSE acknowledged_by END,
    acknowledged_at = CASE WHEN $4 = 'acknowledged' THEN now() ELSE acknowledged_at END,
    dismissed_by = CASE WHEN $4 = 'dismissed' THEN $5 ELSE dismissed_by END,
    dismissed_at = CASE WHEN $4 = 'dismissed' THEN now() ELSE dismissed_at END,
    resolved_by = CASE WHEN $4 = 'resolved' THEN $5 ELSE resolved_by END,
    resolved_at = CASE WHEN $4 = 'resolved' THEN now() ELSE resolved_at END,
    notes = coalesce($6, notes),
    reason = coalesce($7, reason)
WHERE id = $1 AND tenant_id = $2 AND timestamp = $3
RETURNING {columns}

-- name: anomaly_status_change_insert
INSERT INTO anomaly_status_changes (tenant_id, anomaly_id, from_status, to_status, changed_by, notes, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING changed_at

-- name: anomaly_status_changes
SELECT from_status, to_status, changed_by, changed_at, notes, reason FROM anomaly_status_changes
WHERE anomaly_id = $1 AND tenant_id = $2
ORDER BY id

-- name: anomalies_page
SELECT {columns} FROM anomalies
WHERE {where}
ORDER BY timestamp DESC, id DESC
LIMIT {limit} OFFSET {offset}

-- name: anomalies_count
SELECT count(*) FROM anomalies WHERE {where}

-- name: anomaly_partitions_make
SELECT make_anomaly_partitions($1, $2)

-- name: feed_append
SELECT feed_append($1, $2::text[], $3::uuid[], $4::timestamptz[], $5::jsonb)

-- name: feed_bounds
SELECT position, pruned FROM feed_head

-- name: feed_after
SELECT f.position AS feed_position, f.kind AS feed_kind, f.payload AS feed_payload, {columns}
FROM (SELECT * FROM feed WHERE position > $1 ORDER BY position LIMIT $2) AS f
LEFT JOIN anomalies AS a ON a.id = f.anomaly_id AND a.timestamp = f.timestamp
ORDER BY f.position

-- name: feed_prune
WITH bound AS (
    SELECT coalesce(max(position), 0) AS last FROM (
        (SELECT position FROM feed WHERE created_at < $1 ORDER BY position DESC LIMIT 1)
        UNION ALL
        SELECT position - $2 FROM feed_head
    ) AS bounds (position)
), marked AS (
    UPDATE feed_head SET pruned = bound.last FROM bound WHERE bound.last > pruned RETURNING pruned
), gone AS (
    DELETE FROM feed USING marked WHERE feed.position <= marked.pruned RETURNING 1
)
SELECT count(*) FROM gone

-- name: idempotency_claim
INSERT INTO idempotency_keys (tenant_id, owner, key, request_hash, anomaly_id)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, owner, key) DO NOTHING
RETURNING anomaly_id

-- name: idempotency_get
SELECT request_hash, anomaly_id FROM idempotency_keys WHERE tenant_id = $1 AND owner = $2 AND key = $3

-- name: idempotency_prune
DELETE FROM idempotency_keys WHERE created_at < $1

-- name: checkpoint_load
SELECT position, received_ns FROM partition_checkpoints WHERE partition = $1

-- name: checkpoint_states_load
SELECT stream_id, kind, state FROM stream_states WHERE partition = $1 ORDER BY stream_id

-- name: checkpoint_save
INSERT INTO partition_checkpoints AS c (partition, position, received_ns) VALUES ($1, $2, $3)
ON CONFLICT (partition) DO UPDATE
SET position = excluded.position, received_ns = excluded.received_ns, updated_at = now()
WHERE c.position <= excluded.position
RETURNING position

-- name: checkpoint_states_save
INSERT INTO stream_states (partition, stream_id, kind, state)
SELECT $1, row.stream_id, row.kind, row.state
FROM unnest($2::uuid[], $3::text[], $4::bytea[]) AS row (stream_id, kind, state)
ON CONFLICT (partition, stream_id) DO UPDATE
SET kind = excluded.kind, state = excluded.state, updated_at = now()

-- name: checkpoint_states_remove
DELETE FROM stream_states WHERE partition = $1 AND stream_id = ANY ($2::uuid[])

-- name: partition_claim
SELECT pg_try_advisory_lock($1, $2)

-- name: partition_release
SELECT pg_advisory_unlock($1, $2)

-- name: partitions_owned
SELECT objid::integer AS partition, pid FROM pg_locks
WHERE locktype = 'advisory' AND classid = $1::integer::oid AND objsubid = 2 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY objid

-- name: detectors_alive
SELECT count(*) FROM pg_stat_activity
WHERE application_name = $1 AND datname = current_database()

-- name: streams_upsert
INSERT INTO streams AS s (
    id, tenant_id, signal, name, service, attributes, partition, phase, units_seen, units_needed, events_seen,
    calibration_size, earliest_p, bytes_held, anomalies_found, baseline_ref, last_event_at
)
SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::integer[], $8::text[],
    $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::float8[], $14::bigint[], $15::bigint[],
    $16::text[], $17::timestamptz[]
)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, service = excluded.service, attributes = excluded.attributes,
    partition = excluded.partition, phase = excluded.phase, units_seen = excluded.units_seen,
    units_needed = excluded.units_needed, events_seen = excluded.events_seen,
    calibration_size = excluded.calibration_size, earliest_p = excluded.earliest_p,
    bytes_held = excluded.bytes_held, anomalies_found = excluded.anomalies_found,
    baseline_ref = coalesce(excluded.baseline_ref, s.baseline_ref),
    last_event_at = coalesce(greatest(s.last_event_at, excluded.last_event_at), s.last_event_at),
    updated_at = now()

-- name: streams_remove
DELETE FROM streams WHERE id = ANY ($1::uuid[])

-- name: stream_get
SELECT {columns} FROM streams WHERE id = $1 AND tenant_id = $2

-- name: refresh_insert
INSERT INTO baseline_refreshes (id, tenant_id, stream_id, partition, requested_by, requester, baseline_before)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (stream_id) WHERE closed_at IS NULL DO NOTHING

-- name: refresh_open
SELECT {columns} FROM baseline_refreshes WHERE stream_id = $1 AND tenant_id = $2 AND closed_at IS NULL

-- name: refresh_latest
SELECT {columns} FROM baseline_refreshes WHERE stream_id = $1 AND tenant_id = $2
ORDER BY requested_at DESC LIMIT 1

-- name: refresh_placed
UPDATE baseline_refreshes SET log_position = coalesce(log_position, $2) WHERE id = $1
RETURNING {columns}

-- name: refreshes_follow
UPDATE baseline_refreshes AS r
SET log_position = row.position, baseline_before = nullif(row.before, ''),
    baseline_after = nullif(row.after, ''),
    closed_at = CASE WHEN row.after <> '' THEN now() END
FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[]) AS row (id, position, before, after)
WHERE r.id = row.id AND r.closed_at IS NULL

-- name: refreshes_lapse
UPDATE baseline_refreshes SET closed_at = now()
WHERE partition = $1 AND closed_at IS NULL AND log_position <= $2 AND id <> ALL ($3::uuid[])

-- name: streams_page
SELECT {columns} FROM streams
WHERE {where}
ORDER BY name, id
LIMIT {limit} OFFSET {offset}

-- name: streams_count
SELECT count(*) FROM streams WHERE {where}

-- name: baselines_save
INSERT INTO baselines (sha256, tenant_id, stream_id, bytes)
SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::bytea[])
ON CONFLICT (tenant_id, sha256) DO NOTHING

-- name: baseline_load
SELECT sha256, tenant_id, stream_id, bytes, created_at FROM baselines WHERE sha256 = $1 AND tenant_id = $2

-- name: config_active
SELECT version, ncd_threshold, p_value_threshold, baseline_size, window_size, hop_size, stream_overrides,
    settings, created_by, created_at
FROM detection_config WHERE tenant_id = $1 AND active

-- name: config_lock
SELECT pg_advisory_xact_lock(hashtextextended('driftlock.detection_config.' || $1, 0))

-- name: config_retire
UPDATE detection_config SET active = false WHERE tenant_id = $1 AND active

-- name: config_insert
INSERT INTO detection_config (tenant_id, version, active, ncd_threshold, p_value_threshold, baseline_size,
    window_size, hop_size, stream_overrides, settings, created_by)
SELECT $1, 1 + max(version), true, $2, $3, $4, $5, $6, '{}', $7, $8
FROM detection_config WHERE tenant_id = $1

-- name: key_insert
INSERT INTO api_keys (tenant_id, name, prefix, secret_sha256, role, scopes, expires_at, rate_limit_per_minute)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING {columns}

-- name: keys_list
SELECT {columns} FROM api_keys WHERE tenant_id = $1 ORDER BY created_at, id

-- name: key_find
SELECT {columns}, secret_sha256 FROM api_keys
WHERE secret_sha256 = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())

-- name: key_used
UPDATE api_keys SET last_used_at = now()
WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')

-- name: key_revoke
UPDATE api_keys SET revoked_at = now()
WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL
RETURNING {columns}

-- name: installation_secret
SELECT cursor_secret FROM installation
