-- orders.sql - the schema of the service of orders, and what is asked at night: which orders are stuck?

CREATE SCHEMA orders;

CREATE TABLE orders.orders (
    id          bigint      PRIMARY KEY,
    item        text        NOT NULL,
    quantity    bigint      NOT NULL CHECK (quantity > 0),
    amount      bigint      NOT NULL CHECK (amount > 0),
    status      text        NOT NULL DEFAULT 'placed'
                CHECK (status IN ('placed', 'charging', 'reserving', 'sending', 'completed',
                                  'cancelling', 'releasing', 'refunding', 'cancelled')),
    because     text,
    placed_at   timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL
);
COMMENT ON COLUMN orders.orders.amount IS 'Cents';
COMMENT ON COLUMN orders.orders.because IS 'Type of the event that brought it into this status, or by which it began to be undone';
COMMENT ON COLUMN orders.orders.expires_at IS 'When it is undone, if it is not completed by then';
-- Small however many orders there are: only those under way.
CREATE INDEX orders_unfinished ON orders.orders (status, changed_at) WHERE status NOT IN ('completed', 'cancelled');

-- Who has to do the next step.
CREATE TABLE orders.waits_for (status text PRIMARY KEY, service text NOT NULL);
INSERT INTO orders.waits_for VALUES
    ('placed', 'orders'), ('charging', 'payments'), ('reserving', 'inventory'), ('sending', 'receipts'),
    ('cancelling', 'receipts'), ('releasing', 'inventory'), ('refunding', 'payments');

-- How many orders are under way, how many of them stuck (no step for 10 seconds), where, since when.
CREATE VIEW orders.stuck AS
SELECT w.service, o.status, count(*) AS under_way,
       count(*) FILTER (WHERE o.changed_at < now() - interval '10 seconds') AS stuck,
       count(*) FILTER (WHERE o.expires_at < now()) AS expired,
       min(o.changed_at) AS since, (array_agg(o.id ORDER BY o.changed_at))[1] AS oldest
  FROM orders.orders o JOIN orders.waits_for w USING (status)
 WHERE o.status NOT IN ('completed', 'cancelled')
 GROUP BY w.service, o.status;
