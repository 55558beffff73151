-- What each call's verdict rests on, for `vochi-agent call`. schema.sql explains every column.

ALTER TABLE calls ADD COLUMN evidence jsonb;
