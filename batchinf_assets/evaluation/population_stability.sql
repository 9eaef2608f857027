-- Population stability index of every subject against training.
-- Sees expected (subject, bin, training_rows), which lists every bin of a subject, the empty ones
-- too, and observed (subject, bin), one row per value of the window. $floor is the smallest
-- proportion. A subject without observed values has index NULL.
WITH counted AS (
    SELECT subject, bin, count(*) AS window_rows
    FROM observed
    GROUP BY subject, bin
),
compared AS (
    SELECT
        e.subject,
        e.bin,
        e.training_rows,
        coalesce(c.window_rows, 0) AS window_rows,
        sum(e.training_rows) OVER subject_bins AS all_training_rows,
        sum(c.window_rows) OVER subject_bins AS all_window_rows
    FROM expected AS e
    LEFT JOIN counted AS c ON c.subject = e.subject AND c.bin = e.bin
    WINDOW subject_bins AS (PARTITION BY e.subject)
),
proportions AS (
    SELECT
        subject,
        bin,
        all_window_rows,
        greatest(window_rows / all_window_rows, $floor) AS p,
        greatest(training_rows / all_training_rows, $floor) AS q
    FROM compared
)
SELECT
    subject,
    -- In a fixed order, so that the same counts give the same bits.
    sum((p - q) * ln(p / q) ORDER BY bin) FILTER (WHERE all_window_rows > 0) AS psi
FROM proportions
GROUP BY subject
ORDER BY subject
