-- projection.sql - the table of the fifth service, built from the events alone.

CREATE SCHEMA projection;

CREATE TABLE projection.orders (
    id        bigint PRIMARY KEY,
    item      text   NOT NULL,
    status    text   NOT NULL DEFAULT 'under way',
    charged   bigint NOT NULL DEFAULT 0,
    refunded  bigint NOT NULL DEFAULT 0,
    reserved  bigint NOT NULL DEFAULT 0,
    released  bigint NOT NULL DEFAULT 0,
    receipts  bigint NOT NULL DEFAULT 0
);
