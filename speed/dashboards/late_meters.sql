-- Registered homes whose newest reading of the last day is more than half an hour old, the longest silent first.
-- :now timestamp  The clock.
-- :minutes integer = 5  Length of the intervals. [min]
SELECT m.name AS home, r.feeder AS feeder, s.newest AS newest,
       DATEDIFF('minute', s.newest, :now) - :minutes AS behind_minutes
FROM resources r
JOIN meters m ON m.id = r.meter
LEFT JOIN (
  SELECT meter, MAX(ts) AS newest
  FROM readings_import_:minutes
  WHERE ts >= :now - INTERVAL '1' DAY AND ts < :now
  GROUP BY meter
) s ON s.meter = r.meter
WHERE s.newest IS NULL OR DATEDIFF('minute', s.newest, :now) > 30 + :minutes
ORDER BY newest NULLS FIRST, home
