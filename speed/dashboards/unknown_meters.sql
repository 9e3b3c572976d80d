-- Meters that send readings and are no registered resource.
-- :from timestamp  First interval.
-- :until timestamp  Intervals that start before it.
-- :minutes integer = 5  Length of the intervals. [min]
SELECT m.name AS meter, CAST(SUM(u.n) AS BIGINT) AS readings, MIN(u.ts) AS first_ts, MAX(u.ts) AS last_ts,
       CAST(SUM(u.wh) AS DOUBLE) / 1000 AS energy_kwh
FROM readings_import_:minutes u
JOIN meters m ON m.id = u.meter
LEFT JOIN resources r ON r.meter = u.meter
WHERE u.ts >= :from AND u.ts < :until AND r.meter IS NULL
GROUP BY m.name
ORDER BY meter
