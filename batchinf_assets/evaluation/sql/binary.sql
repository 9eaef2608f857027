-- Quality of the scores of a binary label, one row per segment.
-- Sees segments (segment) and by_score (segment, score, rows, positives, negatives), where a score
-- stands once in a segment. $decision is the score that counts as positive, $epsilon the distance
-- that log loss keeps from 0 and 1, $bins the number of bins of the calibration error, all of one
-- width, the last with its upper end.
-- What is undefined is NULL: everything while a label or score is missing or NaN, log loss, Brier
-- score and calibration error while a score is no probability, AUROC while a class is missing.
-- Sums run over whole numbers and over multiples of 2^-62, which add up to the same bits in any
-- order; doubles above 2^-10 are such multiples exactly.
WITH bounded AS (
    SELECT
        *,
        least(greatest(score, 0), 1) AS inside, -- what else is there has no grid: NaN, infinity
        score BETWEEN 0 AND 1 AS probability
    FROM by_score
),
ranked AS (
    SELECT
        *,
        least(floor(inside * $bins), $bins - 1) AS bin,
        -ln(least(greatest(inside, $epsilon), 1 - $epsilon)) AS positive_loss,
        -ln(least(greatest(1 - inside, $epsilon), 1 - $epsilon)) AS negative_loss,
        sum(positives) OVER above / sum(rows) OVER above AS precision_here,
        -- Rows of the other class at this score or above, half of those at it, times two: what the
        -- class's midrank in all rows has over its midrank in its own, counted from above (Sun and
        -- Xu 2014).
        (2 * sum(negatives) OVER above - negatives)::HUGEINT AS lost,
        (2 * sum(positives) OVER above - positives)::HUGEINT AS won
    FROM bounded
    WINDOW above AS (PARTITION BY segment ORDER BY score DESC ROWS UNBOUNDED PRECEDING)
),
gaps AS (
    SELECT
        segment,
        bin,
        sum(positives) - sum((inside * 2.0 ** 62)::HUGEINT * rows) / 2.0 ** 62 AS gap
    FROM ranked
    GROUP BY ALL
),
calibrated AS (
    SELECT segment, sum(abs(gap) ORDER BY bin) AS gaps
    FROM gaps
    GROUP BY segment
),
summed AS (
    SELECT
        segment,
        sum(rows) AS all_rows,
        sum(positives) AS p,
        sum(negatives) AS n,
        coalesce(sum(positives) FILTER (WHERE score >= $decision), 0) AS tp,
        coalesce(sum(negatives) FILTER (WHERE score >= $decision), 0) AS fp,
        sum(positives * lost) AS lost,
        sum(positives * lost * lost) AS lost_squares,
        sum(negatives * won) AS won,
        sum(negatives * won * won) AS won_squares,
        sum((precision_here * 2.0 ** 62)::HUGEINT * positives) / 2.0 ** 62 AS precisions,
        sum(
            (positive_loss * 2.0 ** 62)::HUGEINT * positives
            + (negative_loss * 2.0 ** 62)::HUGEINT * negatives
        ) / 2.0 ** 62 AS losses,
        sum(
            ((1 - inside) ** 2 * 2.0 ** 62)::HUGEINT * positives
            + (inside ** 2 * 2.0 ** 62)::HUGEINT * negatives
        ) / 2.0 ** 62 AS squares,
        bool_and(score IS NOT NULL AND NOT isnan(score) AND rows = positives + negatives)
            AS complete,
        bool_and(probability) AS probabilities
    FROM ranked
    GROUP BY segment
)
SELECT
    segments.segment,
    coalesce(all_rows, 0)::BIGINT AS rows,
    coalesce(p, 0)::BIGINT AS positives,
    coalesce(tp + fp, 0)::BIGINT AS predicted,
    if(complete, tp / nullif(tp + fp, 0), NULL) AS precision,
    if(complete, tp / nullif(p, 0), NULL) AS recall,
    if(complete, 2 * tp / nullif(tp + fp + p, 0), NULL) AS f1,
    if(complete, (tp + n - fp) / all_rows, NULL) AS accuracy,
    if(complete, (2 * p * n - lost) / nullif(2 * p * n, 0), NULL) AS auroc,
    if(complete, precisions / nullif(p, 0), NULL) AS average_precision,
    if(complete AND probabilities, losses / all_rows, NULL) AS log_loss,
    if(complete AND probabilities, squares / all_rows, NULL) AS brier,
    if(complete AND probabilities, gaps / all_rows, NULL) AS calibration_error,
    -- DeLong, DeLong and Clarke-Pearson 1988: the variances of the structural components of both
    -- classes, each over its rows. `lost` and `won` are 2n and 2p times a component.
    if(
        complete,
        (p * lost_squares - lost * lost) / nullif(p ** 2 * (p - 1) * 4 * n ** 2, 0)
            + (n * won_squares - won * won) / nullif(n ** 2 * (n - 1) * 4 * p ** 2, 0),
        NULL
    ) AS auroc_variance
FROM segments
LEFT JOIN summed USING (segment)
LEFT JOIN calibrated USING (segment)
ORDER BY segments.segment
