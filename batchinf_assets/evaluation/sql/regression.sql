-- Quality of predictions of a numeric label, one row per segment.
-- Sees segments (segment) and blocks (segment, block, rows, over, under, squared_errors, labels,
-- squared_labels), the labels of a segment counted from one origin. $quantile is that of the quantile
-- loss.
-- What is undefined is NULL: everything without rows, or where a sum is NaN or infinite; R squared
-- where all labels are equal.
WITH summed AS (
    SELECT
        segment,
        sum(rows) AS rows,
        fsum(over ORDER BY block) AS over,
        fsum(under ORDER BY block) AS under,
        fsum(squared_errors ORDER BY block) AS squared_errors,
        fsum(labels ORDER BY block) AS labels,
        fsum(squared_labels ORDER BY block) AS squared_labels
    FROM blocks
    GROUP BY segment
),
spread AS (
    SELECT
        *,
        squared_labels - labels * labels / rows AS label_squares,
        isfinite(squared_errors) AND isfinite(squared_labels) AS complete
    FROM summed
)
SELECT
    segments.segment,
    coalesce(rows, 0)::BIGINT AS rows,
    if(complete, (over + under) / rows, NULL) AS mae,
    if(complete, sqrt(squared_errors / rows), NULL) AS rmse,
    if(complete AND label_squares > 0, 1 - squared_errors / label_squares, NULL) AS r_squared,
    if(complete, ($quantile * under + (1 - $quantile) * over) / rows, NULL) AS quantile_loss,
    if(complete, (over - under) / rows, NULL) AS bias
FROM segments
LEFT JOIN spread USING (segment)
ORDER BY segments.segment
