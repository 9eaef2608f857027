-- Sums over blocks of rows: what every figure of a numeric label is computed from.
-- Sees paired (segment, label DOUBLE, prediction DOUBLE, block) in an order that the rows alone
-- decide, so that sums have the same bits whatever order they came in.
-- One row per segment and block: `over` adds up by how much predictions are too high, `under` by how
-- much they are too low. Labels are counted from the segment's mean, the origin, which keeps their
-- squares exact enough.
WITH means AS (
    SELECT segment, favg(label ORDER BY label) AS origin
    FROM paired
    GROUP BY segment
),
residuals AS (
    SELECT
        segment,
        block,
        origin,
        label - origin AS label,
        prediction - label AS error
    FROM paired
    JOIN means USING (segment)
)
SELECT
    segment,
    block,
    origin,
    count(*) AS rows,
    fsum(greatest(error, 0) ORDER BY error) AS over,
    fsum(greatest(-error, 0) ORDER BY error) AS under,
    fsum(error * error ORDER BY error) AS squared_errors,
    fsum(label ORDER BY label) AS labels,
    fsum(label * label ORDER BY label) AS squared_labels
FROM residuals
GROUP BY segment, block, origin
ORDER BY segment, block
