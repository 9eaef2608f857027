-- Sums over blocks of rows: what every figure of a numeric label is computed from.
-- Sees paired (segment, label DOUBLE, prediction DOUBLE, block) in an order that the rows alone
-- decide, so that sums have the same bits whatever order they came in. $quantile is that of the
-- quantile loss.
-- One row per segment and block. Labels are counted from the segment's mean, the origin, which
-- keeps their squares exact enough.
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
    fsum(error ORDER BY label, error) AS errors,
    fsum(abs(error) ORDER BY label, error) AS absolute_errors,
    fsum(error * error ORDER BY label, error) AS squared_errors,
    fsum(greatest(-$quantile * error, (1 - $quantile) * error) ORDER BY label, error)
        AS quantile_losses,
    fsum(label ORDER BY label) AS labels,
    fsum(label * label ORDER BY label) AS squared_labels
FROM residuals
GROUP BY segment, block, origin
ORDER BY segment, block
