-- What changed from provisional to final certificates of an event, by reason.
-- :event text  The event's id.
SELECT reason, COUNT(*) AS homes, CAST(SUM(provisional_reduction_wh) AS BIGINT) AS provisional_wh,
       CAST(SUM(batch_reduction_wh) AS BIGINT) AS batch_wh, CAST(SUM(change_wh) AS BIGINT) AS change_wh,
       CAST(SUM(change_payment) AS BIGINT) AS change_payment
FROM reconciliation
WHERE event = :event
GROUP BY reason
ORDER BY reason
