-- Quality of class probabilities, one row per segment.
-- Sees segments (segment) and by_loss (segment, label, predicted, loss, probable, rows).
-- What is undefined is NULL: everything without rows or while a label or prediction is missing, log
-- loss while a row is no distribution over the classes or has a label outside of them.
-- A class counts for the macro F1 score if it occurs among labels or predictions.
WITH cells AS (
    SELECT segment, label, predicted, sum(rows)::BIGINT AS rows
    FROM by_loss
    GROUP BY ALL
),
sided AS (
    SELECT segment, label AS class, rows AS labelled, 0 AS said, if(label = predicted, rows, 0) AS hit
    FROM cells
    UNION ALL
    SELECT segment, predicted, 0, rows, 0 FROM cells
),
scored AS (
    SELECT
        segment,
        class,
        sum(labelled) AS support,
        sum(hit) AS hits,
        2 * sum(hit) / sum(labelled + said) AS f1
    FROM sided
    GROUP BY segment, class
),
classes AS (
    SELECT
        segment,
        sum(hits) / sum(support) AS accuracy,
        avg(f1 ORDER BY class) AS macro_f1,
        sum(f1 * support ORDER BY class) / sum(support) AS weighted_f1
    FROM scored
    GROUP BY segment
),
losses AS (
    SELECT
        segment,
        sum(rows) AS rows,
        sum((loss * 2.0 ** 62)::HUGEINT * rows) / sum(rows) / 2.0 ** 62 AS log_loss,
        bool_and(label IS NOT NULL AND predicted IS NOT NULL) AS complete,
        bool_and(probable AND loss IS NOT NULL) AS probable
    FROM by_loss
    GROUP BY segment
),
matrices AS (
    SELECT
        segment,
        list({'label': label, 'predicted': predicted, 'rows': rows} ORDER BY label, predicted)
            AS cells
    FROM cells
    GROUP BY segment
)
SELECT
    segments.segment,
    coalesce(rows, 0)::BIGINT AS rows,
    if(complete, cells, NULL) AS cells,
    if(complete, accuracy, NULL) AS accuracy,
    if(complete, macro_f1, NULL) AS macro_f1,
    if(complete, weighted_f1, NULL) AS weighted_f1,
    if(complete AND probable, log_loss, NULL) AS log_loss
FROM segments
LEFT JOIN losses USING (segment)
LEFT JOIN classes USING (segment)
LEFT JOIN matrices USING (segment)
ORDER BY segments.segment
