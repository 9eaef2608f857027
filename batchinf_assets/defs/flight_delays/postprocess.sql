-- One row per scored flight: what a planner acts on.
SELECT
    scheduled_departure,
    carrier,
    flight,
    delay_probability,
    delay_probability >= 0.4 AS late_expected,
    CASE
        WHEN delay_probability >= 0.4 THEN 'high'
        WHEN delay_probability >= 0.2 THEN 'medium'
        ELSE 'low'
    END AS risk
FROM scored
