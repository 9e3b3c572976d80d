-- Baseline and usage of an event, interval by interval, in kW, over the homes that reported the interval.
-- :event text  The event's id.
-- :from timestamp  Its start.
-- :until timestamp  Its end.
-- :minutes integer = 5  Length of the intervals. [min]
SELECT b.ts AS ts, CAST(SUM(b.baseline_wh) AS DOUBLE) * 60 / :minutes / 1000 AS baseline_kw,
       CAST(SUM(u.wh) AS DOUBLE) * 60 / :minutes / 1000 AS usage_kw
FROM event_baselines b
JOIN (
  SELECT meter, ts, SUM(wh) AS wh
  FROM readings_import_:minutes
  WHERE ts >= :from AND ts < :until
  GROUP BY meter, ts
  HAVING SUM(n) = 1
) u ON u.meter = b.meter AND u.ts = b.ts
WHERE b.event = :event
GROUP BY b.ts
ORDER BY ts
