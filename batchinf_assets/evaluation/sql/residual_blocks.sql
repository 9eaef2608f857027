-- Sums over blocks of rows: what every figure of a numeric label is computed from.
-- Sees paired (label DOUBLE, prediction DOUBLE, block) in an order that the rows alone decide, so
-- that sums have the same bits whatever order they came in. $quantile is that of the quantile loss.
-- One row per block. Labels are counted from their mean, which keeps their squares exact enough.
WITH residuals AS (
    SELECT
        block,
        label - (SELECT favg(label) FROM paired) AS label,
        prediction - label AS error
    FROM paired
)
SELECT
    block,
    count(*) AS rows,
    fsum(error) AS errors,
    fsum(abs(error)) AS absolute_errors,
    fsum(error * error) AS squared_errors,
    fsum(greatest(-$quantile * error, (1 - $quantile) * error)) AS quantile_losses,
    fsum(label) AS labels,
    fsum(label * label) AS squared_labels
FROM residuals
GROUP BY block
ORDER BY block
