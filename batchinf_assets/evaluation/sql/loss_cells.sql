-- Rows of one label, one prediction and about one log loss, counted together: what resamples of
-- class probabilities are drawn from.
-- Sees by_loss (segment, label, predicted, loss, probable, rows). Up to $most of a segment's rows
-- stay apart. More are put together, about as many of one label and prediction at a time as make
-- $groups groups of the segment's rows. A cell has its rows' mean loss, 0 where there is none.
-- Sums run over multiples of 2^-62, as in binary.sql.
WITH placed AS (
    SELECT
        *,
        sum(rows) OVER below - rows AS rows_below,
        sum(rows) OVER (PARTITION BY segment) AS all_rows,
        count(*) OVER (PARTITION BY segment) AS all_losses
    FROM by_loss
    WINDOW below AS (
        PARTITION BY segment, label, predicted ORDER BY loss, probable ROWS UNBOUNDED PRECEDING
    )
)
SELECT
    segment,
    label,
    predicted,
    sum(rows)::BIGINT AS rows,
    sum((coalesce(loss, 0) * 2.0 ** 62)::HUGEINT * rows) / sum(rows) / 2.0 ** 62 AS log_loss
FROM placed
GROUP BY
    segment,
    label,
    predicted,
    if(all_losses <= $most, rows_below, rows_below * $groups // all_rows)
ORDER BY segment, label, predicted, min(rows_below)
