-- Labelled scores by score, of which there are too many: put together what is near.
-- Sees counted (score DOUBLE, positives BIGINT, negatives BIGINT). $cells is how many parts of equal
-- width [0, 1] is cut into; a part that $decision falls into is two. What is put together counts
-- with its mean score, so sums of scores stay as they are, and no row changes sides.
SELECT
    -- A mean of equal numbers may be rounded to another one.
    greatest(
        least(
            sum(score * (positives + negatives) ORDER BY score) / sum(positives + negatives),
            max(score)
        ),
        min(score)
    ) AS score,
    sum(positives)::BIGINT AS positives,
    sum(negatives)::BIGINT AS negatives
FROM counted
GROUP BY floor(score * $cells), score >= $decision
ORDER BY 1
