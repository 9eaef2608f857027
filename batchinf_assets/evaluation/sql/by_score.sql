-- Labelled scores, counted by score: what every figure of a binary label is computed from.
-- Sees scored (segment, label BOOLEAN, score DOUBLE). One row for each segment and score; a row
-- without label counts in rows only.
SELECT
    segment,
    score + 0.0 AS score, -- makes 0 of -0, which would sort apart
    count(*) AS rows,
    count(*) FILTER (WHERE label) AS positives,
    count(*) FILTER (WHERE NOT label) AS negatives
FROM scored
GROUP BY ALL
