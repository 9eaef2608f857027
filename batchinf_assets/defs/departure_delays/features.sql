-- One row per departure of the hour. Visible here: snapshot, weather (the last observation known an
-- hour before each departure) and outcomes (of the twelve hours before, as far as flights had left
-- when this hour began).
WITH now AS (
    SELECT date_trunc('hour', min(scheduled_departure)) AS began
    FROM snapshot
),
departed AS (
    SELECT
        carrier,
        origin,
        CAST(departure_delay >= 15 AS DOUBLE) AS late,
        recorded_at >= (SELECT began FROM now) - INTERVAL 3 HOUR AS lately
    FROM outcomes
    WHERE departure_delay IS NOT NULL
),
by_origin AS (
    SELECT origin, avg(late) AS late_rate, count(*) AS departures
    FROM departed
    WHERE lately
    GROUP BY origin
),
by_carrier AS (
    SELECT carrier, avg(late) AS late_rate
    FROM departed
    GROUP BY carrier
)
SELECT
    s.scheduled_departure,
    s.carrier,
    s.flight,
    s.carrier AS carrier_code,
    s.origin AS origin_airport,
    s.destination AS destination_airport,
    CAST(s.distance AS DOUBLE) AS distance_miles,
    CAST((s.departure_local // 100) * 60 + s.departure_local % 100 AS DOUBLE) AS departure_minute,
    w.temperature,
    w.wind_speed,
    w.precipitation,
    w.visibility,
    w.pressure,
    o.late_rate AS origin_late_rate,
    CAST(coalesce(o.departures, 0) AS DOUBLE) AS origin_departures,
    c.late_rate AS carrier_late_rate
FROM snapshot AS s
LEFT JOIN weather AS w
    ON w.scheduled_departure = s.scheduled_departure
    AND w.carrier = s.carrier
    AND w.flight = s.flight
LEFT JOIN by_origin AS o ON o.origin = s.origin
LEFT JOIN by_carrier AS c ON c.carrier = s.carrier
