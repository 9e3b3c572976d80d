-- The homes that reduce least in an event: baseline, usage and reduction so far, in Wh.
-- :event text  The event's id.
-- :from timestamp  Its start.
-- :until timestamp  Its end.
-- :homes integer = 20  How many.
-- :minutes integer = 5  Length of the intervals. [min]
SELECT m.name AS home, COUNT(*) AS reported, CAST(SUM(b.baseline_wh) AS BIGINT) AS baseline_wh,
       CAST(SUM(u.wh) AS BIGINT) AS used_wh, CAST(SUM(b.baseline_wh - u.wh) AS BIGINT) AS reduction_wh
FROM event_baselines b
JOIN (
  SELECT meter, ts, SUM(wh) AS wh
  FROM readings_import_:minutes
  WHERE ts >= :from AND ts < :until
  GROUP BY meter, ts
  HAVING SUM(n) = 1
) u ON u.meter = b.meter AND u.ts = b.ts
JOIN meters m ON m.id = b.meter
WHERE b.event = :event
GROUP BY m.name
ORDER BY reduction_wh, home
LIMIT :homes
