-- Rows of one label and about one score, counted together: what resamples of a binary label are
-- drawn from.
-- Sees by_score (segment, score, rows, positives, negatives), where a score stands once in a
-- segment. A segment with at most $scores scores keeps each of them; more are put into $groups
-- groups of about equally many rows, cut at $decision and at the edges of the $bins calibration
-- bins. A group has one mean score; log loss and squared distance are means by label.
-- Sums run over multiples of 2^-62, as in binary.sql.
WITH placed AS (
    SELECT
        *,
        sum(rows) OVER (PARTITION BY segment ORDER BY score ROWS UNBOUNDED PRECEDING) - rows
            AS rows_below,
        sum(rows) OVER (PARTITION BY segment) AS all_rows,
        count(*) OVER (PARTITION BY segment) AS all_scores,
        least(greatest(score, 0), 1) AS inside -- what else is there has no loss, but a rank
    FROM by_score
),
grouped AS (
    SELECT
        segment,
        if(all_scores <= $scores, rows_below, rows_below * $groups // all_rows) AS cell,
        score >= $decision AS predicted,
        least(floor(inside * $bins), $bins - 1) AS bin,
        sum(positives)::BIGINT AS positives,
        sum(negatives)::BIGINT AS negatives,
        min(score) AS lowest,
        max(score) AS highest,
        sum((inside * 2.0 ** 62)::HUGEINT * rows) / sum(rows) / 2.0 ** 62 AS score,
        sum((-ln(least(greatest(inside, $epsilon), 1 - $epsilon)) * 2.0 ** 62)::HUGEINT * positives)
            / 2.0 ** 62 AS positive_losses,
        sum(
            (-ln(least(greatest(1 - inside, $epsilon), 1 - $epsilon)) * 2.0 ** 62)::HUGEINT
            * negatives
        ) / 2.0 ** 62 AS negative_losses,
        sum(((1 - inside) ** 2 * 2.0 ** 62)::HUGEINT * positives) / 2.0 ** 62 AS positive_squares,
        sum((inside ** 2 * 2.0 ** 62)::HUGEINT * negatives) / 2.0 ** 62 AS negative_squares
    FROM placed
    GROUP BY ALL
),
labelled AS (
    SELECT
        segment,
        unnest([true, false]) AS label,
        unnest([positives, negatives]) AS rows,
        least(greatest(score, lowest), highest) AS score, -- rounding leads over no edge
        unnest([positive_losses, negative_losses]) AS losses,
        unnest([positive_squares, negative_squares]) AS squares
    FROM grouped
)
SELECT segment, label, rows, score, losses / rows AS log_loss, squares / rows AS square
FROM labelled
WHERE rows > 0
ORDER BY segment, score, label
