-- What a test of homogeneity needs of every subject: Pearson's chi-squared of its pools, their
-- degrees of freedom, and the rows in bins that are rare.
-- Sees bins (subject, bin, pool, rare, reference_rows, window_rows, ...). A subject without rows on
-- one side is not in the result.
WITH pools AS (
    SELECT
        subject,
        pool,
        CAST(sum(reference_rows) AS DOUBLE) AS reference_rows,
        CAST(sum(window_rows) AS DOUBLE) AS window_rows,
        sum(reference_rows + window_rows) FILTER (WHERE rare) AS rare_rows,
        sum(window_rows) FILTER (WHERE rare) AS rare_window_rows
    FROM bins
    GROUP BY subject, pool
),
compared AS (
    SELECT
        *,
        sum(reference_rows) OVER subject_pools AS all_reference_rows,
        sum(window_rows) OVER subject_pools AS all_window_rows
    FROM pools
    WINDOW subject_pools AS (PARTITION BY subject)
),
expected AS (
    SELECT
        *,
        (reference_rows + window_rows) * all_window_rows
        / (all_reference_rows + all_window_rows) AS in_window,
        (reference_rows + window_rows) * all_reference_rows
        / (all_reference_rows + all_window_rows) AS in_reference
    FROM compared
    WHERE all_window_rows > 0 AND all_reference_rows > 0
)
SELECT
    subject,
    any_value(all_window_rows) / any_value(all_reference_rows + all_window_rows) AS window_share,
    sum((window_rows - in_window) ** 2 * (1 / in_window + 1 / in_reference) ORDER BY pool)
    AS chi_squared,
    count(*) - 1 AS degrees,
    CAST(coalesce(sum(rare_rows), 0) AS BIGINT) AS rare_rows,
    CAST(coalesce(sum(rare_window_rows), 0) AS BIGINT) AS rare_window_rows
FROM expected
GROUP BY subject
ORDER BY subject
