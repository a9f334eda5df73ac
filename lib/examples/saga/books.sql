-- books.sql - the audit: reads the tables of all services, as none of them may, and says what does not
-- add up. When every order is final each number is 0.

CREATE SCHEMA audit;

-- One row per order, from the ledgers alone.
CREATE VIEW audit.orders AS
SELECT o.id, o.status, o.item, o.quantity, o.amount,
       coalesce(p.charged, 0) AS charged, coalesce(p.refunded, 0) AS refunded,
       coalesce(i.reserved, 0) AS reserved, coalesce(i.released, 0) AS released,
       coalesce(r.receipts, 0) AS receipts,
       coalesce(p.charges, 0) AS n_charges, coalesce(i.reserves, 0) AS n_reserves, coalesce(r.sent, 0) AS n_receipts
  FROM orders.orders o
  LEFT JOIN (SELECT order_id, sum(amount) FILTER (WHERE kind = 'charge') AS charged,
                    -sum(amount) FILTER (WHERE kind = 'refund') AS refunded,
                    count(*) FILTER (WHERE kind = 'charge') AS charges
               FROM payments.ledger GROUP BY order_id) p ON p.order_id = o.id
  LEFT JOIN (SELECT order_id, -sum(quantity) FILTER (WHERE kind = 'reserve') AS reserved,
                    sum(quantity) FILTER (WHERE kind = 'release') AS released,
                    count(*) FILTER (WHERE kind = 'reserve') AS reserves
               FROM inventory.ledger GROUP BY order_id) i ON i.order_id = o.id
  LEFT JOIN (SELECT order_id, sum(amount) AS receipts, count(*) FILTER (WHERE kind = 'receipt') AS sent
               FROM receipts.ledger GROUP BY order_id) r ON r.order_id = o.id;

-- Every line of every ledger, and the event that it is there for.
CREATE VIEW audit.lines AS
SELECT 'payments' AS service, order_id, kind, cause FROM payments.ledger
UNION ALL SELECT 'inventory', order_id, kind, cause FROM inventory.ledger
UNION ALL SELECT 'receipts', order_id, kind, cause FROM receipts.ledger;

CREATE VIEW audit.books (what, wrong) AS
SELECT 'orders that are not final', count(*) FROM orders.orders WHERE status NOT IN ('completed', 'cancelled')
UNION ALL
SELECT 'cents charged and neither on a receipt nor refunded', abs(coalesce(sum(charged - refunded - receipts), 0))
  FROM audit.orders
UNION ALL
SELECT 'orders of which the same is true', count(*) FROM audit.orders WHERE charged <> refunded + receipts
UNION ALL
SELECT 'completed orders not charged, reserved and receipted once', count(*) FROM audit.orders
 WHERE status = 'completed' AND (charged, refunded, reserved, released, receipts)
       IS DISTINCT FROM (amount, 0, quantity, 0, amount)
UNION ALL
SELECT 'cancelled orders that keep money or goods', count(*) FROM audit.orders
 WHERE status = 'cancelled' AND (charged - refunded, reserved - released, receipts) IS DISTINCT FROM (0, 0, 0)
UNION ALL
SELECT 'pieces missing from the stock, or too many', coalesce(sum(abs(s.received - s.on_hand - coalesce(o.sold, 0))), 0)
  FROM inventory.stock s
  LEFT JOIN (SELECT item, sum(quantity) AS sold FROM orders.orders WHERE status = 'completed' GROUP BY item) o USING (item)
UNION ALL
SELECT 'pieces by which stock and its ledger differ', coalesce(sum(abs(s.received - s.on_hand + coalesce(l.moved, 0))), 0)
  FROM inventory.stock s
  LEFT JOIN (SELECT item, sum(quantity) AS moved FROM inventory.ledger GROUP BY item) l USING (item)
UNION ALL
SELECT 'events applied twice', count(*) FROM (SELECT FROM audit.lines GROUP BY service, cause HAVING count(*) > 1) t
UNION ALL
SELECT 'steps done twice for an order', count(*)
  FROM (SELECT FROM audit.lines GROUP BY service, order_id, kind HAVING count(*) > 1) t
UNION ALL
SELECT 'lines of an order that was never placed', count(*) FROM audit.lines l
 WHERE NOT EXISTS (SELECT FROM orders.orders o WHERE o.id = l.order_id)
UNION ALL
SELECT 'dead letters', count(*) FROM inbox.dead WHERE consumer LIKE 'saga-%';
