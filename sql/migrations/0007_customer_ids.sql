-- Finds the numbers that a card of a source lists, by its id there: `meta -> 'ids' @> '{"retailcrm": ["2003"]}'`.
-- Without fastupdate: every profile looks here, and what waits in a list would be read through each time.
CREATE INDEX customers_ids_idx ON customers USING gin ((meta -> 'ids') jsonb_path_ops) WITH (fastupdate = off)
    WHERE meta ? 'ids';
