-- Population stability index of every subject against training.
-- Sees bins (subject, bin, training_rows, window_rows), which lists every bin of a subject, the
-- empty ones too. $floor is the smallest proportion. A subject without values in the window has
-- index NULL.
WITH compared AS (
    SELECT
        *,
        sum(training_rows) OVER subject_bins AS all_training_rows,
        sum(window_rows) OVER subject_bins AS all_window_rows
    FROM bins
    WINDOW subject_bins AS (PARTITION BY subject)
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
