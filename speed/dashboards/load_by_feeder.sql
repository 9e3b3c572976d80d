-- Load of each feeder over time, in kW.
-- :from timestamp  First interval.
-- :until timestamp  Intervals that start before it.
-- :minutes integer = 5  Length of the intervals. [min]
SELECT u.ts AS ts, r.feeder AS feeder, CAST(SUM(u.wh) AS DOUBLE) * 60 / :minutes / 1000 AS load_kw
FROM readings_import_:minutes u
JOIN resources r ON r.meter = u.meter
WHERE u.ts >= :from AND u.ts < :until
GROUP BY u.ts, r.feeder
ORDER BY ts, feeder
