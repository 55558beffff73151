-- Finds the numbers that a card of a source lists, by its id there: `meta -> 'ids' @> '{"retailcrm": ["2003"]}'`.
CREATE INDEX customers_ids_idx ON customers USING gin ((meta -> 'ids') jsonb_path_ops) WHERE meta ? 'ids';
