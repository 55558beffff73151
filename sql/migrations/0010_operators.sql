-- People who talk with the bot: who they are, how they were invited, and what of theirs was read and answered already.
CREATE TABLE operators (
    enterprise_number text NOT NULL,
    user_id           bigint NOT NULL,
    extension         text NOT NULL,
    name              text NOT NULL DEFAULT '',
    signed_up_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (enterprise_number, user_id),
    CONSTRAINT operators_enterprise_number_extension_key UNIQUE (enterprise_number, extension)
);

CREATE TABLE invitations (
    enterprise_number text NOT NULL,
    extension         text NOT NULL,
    code_hash         text NOT NULL,
    expires_at        timestamptz NOT NULL,
    PRIMARY KEY (enterprise_number, extension),
    CONSTRAINT invitations_code_hash_key UNIQUE (code_hash)
);

CREATE TABLE bot_updates (
    bot_id      bigint PRIMARY KEY,
    next_update bigint NOT NULL,
    noted_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE bot_answers (
    chat_id    bigint NOT NULL,
    message_id bigint NOT NULL,
    sent_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (chat_id, message_id)
);
