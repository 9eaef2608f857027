-- One row per scored departure: whom a gate agent should warn.
SELECT
    scheduled_departure,
    carrier,
    flight,
    delay_probability,
    delay_probability >= 0.4 AS late_expected
FROM scored
