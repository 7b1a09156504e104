BEGIN TRANSACTION;
CREATE TABLE accounts (
  id VARCHAR(32) NOT NULL,
  supplier VARCHAR(32) NOT NULL,
  state VARCHAR(16) NOT NULL,
  reason VARCHAR(64) NOT NULL,
  created_at DATETIME NOT NULL,
  state_since DATETIME NOT NULL,
  consent_from DATE,
  consent_until DATE,
  CONSTRAINT pk_accounts PRIMARY KEY (id)
);
CREATE TABLE alembic_version (
  version_num VARCHAR(32) NOT NULL,
  CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE api_tokens (
  id VARCHAR(32) NOT NULL,
  name VARCHAR(100) NOT NULL,
  hash VARCHAR(64) NOT NULL,
  scopes TEXT NOT NULL,
  created_at DATETIME NOT NULL,
  last_used_at DATETIME,
  expires_at DATETIME,
  revoked_at DATETIME,
  CONSTRAINT pk_api_tokens PRIMARY KEY (id)
);
CREATE TABLE consent_proofs (
  id VARCHAR(32) NOT NULL,
  account_id VARCHAR(32) NOT NULL,
  supplier VARCHAR(32) NOT NULL,
  kind VARCHAR(16) NOT NULL,
  reference VARCHAR(64),
  consented_at DATETIME NOT NULL,
  consent_from DATE,
  consent_until DATE,
  sealed_usage_point TEXT,
  ended_at DATETIME,
  end_reason VARCHAR(64) NOT NULL,
  CONSTRAINT pk_consent_proofs PRIMARY KEY (id),
  CONSTRAINT fk_consent_proofs_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE corrections (
  account_id VARCHAR(32) NOT NULL,
  period VARCHAR(8) NOT NULL,
  "key" VARCHAR(20) NOT NULL,
  was_mwh BIGINT NOT NULL,
  became_mwh BIGINT NOT NULL,
  first_seen DATETIME,
  changed_at DATETIME NOT NULL,
  run_id VARCHAR(64) NOT NULL,
  CONSTRAINT pk_corrections PRIMARY KEY (account_id, period, "key", was_mwh, became_mwh),
  CONSTRAINT fk_corrections_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE freshness (
  hour DATETIME NOT NULL,
  series VARCHAR(32) NOT NULL,
  active INTEGER NOT NULL,
  complete INTEGER NOT NULL,
  CONSTRAINT pk_freshness PRIMARY KEY (hour, series)
);
CREATE TABLE notices (
  id VARCHAR(32) NOT NULL,
  "key" VARCHAR(160) NOT NULL,
  account_id VARCHAR(32),
  kind VARCHAR(32) NOT NULL,
  reason VARCHAR(64) NOT NULL,
  about VARCHAR(64) NOT NULL,
  channel VARCHAR(16) NOT NULL,
  created_at DATETIME NOT NULL,
  attempts INTEGER NOT NULL,
  next_attempt_at DATETIME NOT NULL,
  delivered_at DATETIME,
  last_error VARCHAR(200) NOT NULL,
  CONSTRAINT pk_notices PRIMARY KEY (id),
  CONSTRAINT fk_notices_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
  CONSTRAINT uq_notices_key UNIQUE ("key")
);
CREATE TABLE pending_refusals (
  account_id VARCHAR(32) NOT NULL,
  code VARCHAR(64) NOT NULL,
  first_seen DATETIME NOT NULL,
  last_seen DATETIME NOT NULL,
  times INTEGER NOT NULL,
  CONSTRAINT pk_pending_refusals PRIMARY KEY (account_id, code),
  CONSTRAINT fk_pending_refusals_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE policies (
  since DATE NOT NULL,
  daily_every INTEGER NOT NULL,
  curve_every INTEGER NOT NULL,
  applied_at DATETIME NOT NULL,
  arithmetic TEXT NOT NULL,
  CONSTRAINT pk_policies PRIMARY KEY (since)
);
CREATE TABLE quarantine (
  fingerprint VARCHAR(16) NOT NULL,
  kind VARCHAR(32) NOT NULL,
  place VARCHAR(200) NOT NULL,
  detail VARCHAR(64) NOT NULL,
  preset VARCHAR(32) NOT NULL,
  first_seen DATETIME NOT NULL,
  last_seen DATETIME NOT NULL,
  times BIGINT NOT NULL,
  sealed_sample BLOB NOT NULL,
  CONSTRAINT pk_quarantine PRIMARY KEY (fingerprint)
);
CREATE TABLE raw_answers (
  id VARCHAR(32) NOT NULL,
  account_id VARCHAR(32) NOT NULL,
  month VARCHAR(7) NOT NULL,
  first_at DATETIME NOT NULL,
  last_at DATETIME NOT NULL,
  packed BOOLEAN NOT NULL,
  sealed BLOB NOT NULL,
  CONSTRAINT pk_raw_answers PRIMARY KEY (id),
  CONSTRAINT fk_raw_answers_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE series_outcomes (
  account_id VARCHAR(32) NOT NULL,
  series VARCHAR(32) NOT NULL,
  active BOOLEAN NOT NULL,
  every SMALLINT NOT NULL,
  asked_at DATETIME NOT NULL,
  last_answer VARCHAR(16),
  again_at DATETIME,
  failures SMALLINT NOT NULL,
  history_due_at DATETIME,
  days TEXT NOT NULL,
  next_ask DATE,
  last_complete DATE,
  last_day DATE NOT NULL,
  run_id VARCHAR(64) NOT NULL,
  last_code VARCHAR(64),
  last_message TEXT NOT NULL,
  last_success_at DATETIME,
  ever_stored BOOLEAN NOT NULL,
  updated_at DATETIME NOT NULL,
  CONSTRAINT pk_series_outcomes PRIMARY KEY (account_id, series),
  CONSTRAINT fk_series_outcomes_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE token_users (
  account_id VARCHAR(32) NOT NULL,
  token_id VARCHAR(32) NOT NULL,
  CONSTRAINT pk_token_users PRIMARY KEY (account_id),
  CONSTRAINT fk_token_users_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
  CONSTRAINT fk_token_users_token_id FOREIGN KEY(token_id) REFERENCES tokens (id)
);
CREATE TABLE tokens (
  id VARCHAR(32) NOT NULL,
  sealed TEXT NOT NULL,
  updated_at DATETIME NOT NULL,
  expires_at DATETIME,
  refreshing_since DATETIME,
  CONSTRAINT pk_tokens PRIMARY KEY (id)
);
CREATE TABLE usage_points (
  account_id VARCHAR(32) NOT NULL,
  supplier VARCHAR(32) NOT NULL,
  usage_point_id VARCHAR(32) NOT NULL,
  direction VARCHAR(16) NOT NULL,
  CONSTRAINT pk_usage_points PRIMARY KEY (account_id),
  CONSTRAINT fk_usage_points_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
  CONSTRAINT uq_usage_points_usage_point_id UNIQUE (usage_point_id, supplier, direction)
);
CREATE INDEX ix_accounts_state_id ON accounts (state, id);
CREATE INDEX ix_tokens_expires_at ON tokens (expires_at);
CREATE INDEX ix_consent_proofs_account_id ON consent_proofs (account_id);
CREATE INDEX ix_consent_proofs_ended_at ON consent_proofs (ended_at);
CREATE INDEX ix_corrections_changed_at ON corrections (changed_at);
CREATE INDEX ix_notices_account_id ON notices (account_id);
CREATE INDEX ix_notices_next_attempt_at ON notices (next_attempt_at);
CREATE INDEX ix_pending_refusals_code_last_seen ON pending_refusals (code, last_seen);
CREATE INDEX ix_raw_answers_account_id ON raw_answers (account_id, month);
CREATE INDEX ix_raw_answers_last_at ON raw_answers (last_at);
CREATE INDEX ix_raw_answers_packed ON raw_answers (packed, month, account_id);
CREATE INDEX ix_series_outcomes_again ON series_outcomes (again_at) WHERE active = true AND again_at IS NOT NULL;
CREATE INDEX ix_series_outcomes_catch_up ON series_outcomes (series, last_day, account_id) WHERE active = true;
CREATE INDEX ix_series_outcomes_history ON series_outcomes (series, history_due_at, account_id) WHERE active = true AND history_due_at IS NOT NULL;
CREATE INDEX ix_series_outcomes_nightly ON series_outcomes (series, every, asked_at, account_id, again_at) WHERE active = true;
CREATE INDEX ix_series_outcomes_repair ON series_outcomes (next_ask, account_id) WHERE active = true AND next_ask IS NOT NULL;
CREATE INDEX ix_series_outcomes_updated_at ON series_outcomes (updated_at);
CREATE INDEX ix_token_users_token_id ON token_users (token_id);
COMMIT;
