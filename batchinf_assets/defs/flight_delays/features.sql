-- One row per scheduled flight. Visible here: snapshot, planes, weather (the last observation known
-- an hour before each departure) and outcomes (those recorded before the window began).
WITH history AS (
    SELECT carrier, origin, destination, CAST(arrival_delay >= 15 AS DOUBLE) AS late
    FROM outcomes
    WHERE arrival_delay IS NOT NULL
),
by_carrier AS (
    SELECT carrier, avg(late) AS delay_rate
    FROM history
    GROUP BY carrier
),
by_route AS (
    SELECT origin, destination, avg(late) AS delay_rate
    FROM history
    GROUP BY origin, destination
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
    CAST((s.arrival_local // 100) * 60 + s.arrival_local % 100 AS DOUBLE) AS arrival_minute,
    CAST(
        year(timezone('America/New_York', s.scheduled_departure)) - p.manufactured AS DOUBLE
    ) AS plane_age,
    w.temperature,
    w.wind_speed,
    w.precipitation,
    w.visibility,
    w.pressure,
    c.delay_rate AS carrier_delay_rate,
    r.delay_rate AS route_delay_rate
FROM snapshot AS s
LEFT JOIN planes AS p ON p.tail_number = s.tail_number
LEFT JOIN weather AS w
    ON w.scheduled_departure = s.scheduled_departure
    AND w.carrier = s.carrier
    AND w.flight = s.flight
LEFT JOIN by_carrier AS c ON c.carrier = s.carrier
LEFT JOIN by_route AS r ON r.origin = s.origin AND r.destination = s.destination
