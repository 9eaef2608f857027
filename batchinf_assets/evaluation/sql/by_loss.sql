-- Labelled class probabilities, counted by segment, label, prediction and log loss.
-- Sees classified (segment, label, probabilities DOUBLE[]), one probability for each of the first of
-- $classes. $epsilon is the distance that log loss keeps from 0 and 1.
-- Label and prediction are places in $classes, from 0; the prediction is the first of the largest
-- probabilities, NULL while one is NaN. The loss is NULL where the label has no probability.
WITH placed AS (
    SELECT
        segment,
        list_position($classes, label) AS label,
        probabilities,
        list_sum(probabilities) AS total,
        list_max(probabilities) AS largest
    FROM classified
)
SELECT
    segment,
    label - 1 AS label,
    if(isnan(total), NULL, list_position(probabilities, largest) - 1) AS predicted,
    if(
        probabilities[label] IS NULL,
        NULL,
        -ln(least(greatest(probabilities[label], $epsilon), 1 - $epsilon))
    ) AS loss,
    coalesce(list_min(probabilities) >= 0 AND abs(total - 1) <= 1e-6, false) AS probable,
    count(*) AS rows
FROM placed
GROUP BY ALL
