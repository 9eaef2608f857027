-- Distances of every subject from its reference, each in a column of its name.
-- Sees bins (subject, bin, value, low, high, deviation, reference_rows, window_rows, ...), which
-- lists every bin of a subject, the empty ones too; value says that it is an interval of a number.
-- $floor is the smallest proportion in the stability index. A subject without rows on one side is
-- not in the result; one without numbers on one side has no kolmogorov_smirnov and no wasserstein,
-- and one without ends or deviation no wasserstein. All sums are in a fixed order, so that the same
-- counts give the same bits.
WITH totals AS (
    SELECT
        *,
        sum(reference_rows) OVER all_bins AS reference_total,
        sum(window_rows) OVER all_bins AS window_total,
        sum(reference_rows) OVER values_only AS reference_values,
        sum(window_rows) OVER values_only AS window_values,
        sum(reference_rows) OVER up_to_here AS reference_below,
        sum(window_rows) OVER up_to_here AS window_below
    FROM bins
    WINDOW
        all_bins AS (PARTITION BY subject),
        values_only AS (PARTITION BY subject, value),
        up_to_here AS (PARTITION BY subject, value ORDER BY bin ROWS UNBOUNDED PRECEDING)
),
shares AS (
    SELECT
        subject,
        bin,
        value AND window_values > 0 AND reference_values > 0 AS comparable,
        window_rows / window_total AS p,
        reference_rows / reference_total AS q,
        greatest(p, $floor) AS floored_p,
        greatest(q, $floor) AS floored_q,
        (p + q) / 2 AS m,
        -- The two distribution functions' difference at the ends of the bin.
        (window_below - window_rows) / window_values
        - (reference_below - reference_rows) / reference_values AS at_low,
        window_below / window_values - reference_below / reference_values AS at_high,
        CASE WHEN deviation > 0 THEN (high - low) / deviation END AS width
    FROM totals
    WHERE window_total > 0 AND reference_total > 0
)
SELECT
    subject,
    sum((floored_p - floored_q) * ln(floored_p / floored_q) ORDER BY bin) AS psi,
    -- Between 0 and 1 but for rounding.
    sqrt(least(1, greatest(0, sum(
        (
            CASE WHEN p > 0 THEN p * log2(p / m) ELSE 0 END
            + CASE WHEN q > 0 THEN q * log2(q / m) ELSE 0 END
        ) / 2
        ORDER BY bin
    )))) AS jensen_shannon,
    max(abs(at_high)) FILTER (WHERE comparable) AS kolmogorov_smirnov,
    -- The area between the functions, each of which rises straight from edge to edge.
    sum(
        width * CASE
            WHEN at_low * at_high >= 0 THEN (abs(at_low) + abs(at_high)) / 2
            -- They cross inside the bin: two triangles.
            ELSE (at_low * at_low + at_high * at_high) / (2 * (abs(at_low) + abs(at_high)))
        END
        ORDER BY bin
    ) FILTER (WHERE comparable) AS wasserstein
FROM shares
GROUP BY subject
ORDER BY subject
