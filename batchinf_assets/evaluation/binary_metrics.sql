-- Quality of the scores of a binary label, as one row.
-- Sees scored (label BOOLEAN, score DOUBLE). $decision is the score that counts as positive,
-- $epsilon the distance that log loss keeps from 0 and 1.
-- What is undefined is NULL: everything while a label or score is missing, log loss and Brier score
-- while a score is no probability, AUROC while a class is missing.
WITH ranked AS (
    SELECT
        label,
        score,
        -- Tied scores share the mean of the ranks that they take up.
        rank() OVER (ORDER BY score) + (count(*) OVER (PARTITION BY score) - 1) / 2 AS average_rank,
        least(greatest(if(label, score, 1 - score), $epsilon), 1 - $epsilon) AS likelihood
    FROM scored
),
summed AS (
    SELECT
        count(*) AS all_rows,
        count(*) FILTER (WHERE label) AS positives,
        count(*) FILTER (WHERE NOT label) AS negatives,
        count(*) FILTER (WHERE score >= $decision) AS predicted,
        count(*) FILTER (WHERE label AND score >= $decision) AS true_positives,
        sum(average_rank) FILTER (WHERE label) AS positive_ranks,
        -- In a fixed order, so that the same rows give the same bits whatever their order.
        avg(-ln(likelihood) ORDER BY score, label) AS log_loss,
        avg((score - label::INTEGER) ** 2 ORDER BY score, label) AS brier,
        bool_and(label IS NOT NULL AND score IS NOT NULL AND NOT isnan(score)) AS complete,
        bool_and(score BETWEEN 0 AND 1) AS probabilities
    FROM ranked
)
SELECT
    all_rows AS rows,
    positives,
    if(complete, true_positives / nullif(predicted, 0), NULL) AS precision,
    if(complete, true_positives / nullif(positives, 0), NULL) AS recall,
    if(
        complete,
        (positive_ranks - positives * (positives + 1) / 2) / nullif(positives * negatives, 0),
        NULL
    ) AS auroc,
    if(complete AND probabilities, log_loss, NULL) AS log_loss,
    if(complete AND probabilities, brier, NULL) AS brier
FROM summed
