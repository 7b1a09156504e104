BEGIN TRANSACTION;
CREATE TABLE access_keys (
	id VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	owner VARCHAR(32) NOT NULL, 
	sealed TEXT NOT NULL, 
	device VARCHAR(100) NOT NULL, 
	created_at DATETIME NOT NULL, 
	last_seen_at DATETIME NOT NULL, 
	expires_at DATETIME, 
	CONSTRAINT pk_access_keys PRIMARY KEY (id)
);
CREATE TABLE accounts (
	id VARCHAR(32) NOT NULL, 
	tenant VARCHAR(32) DEFAULT 'default' NOT NULL, 
	supplier VARCHAR(32) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	state_since DATETIME NOT NULL, 
	consent_from DATE, 
	consent_until DATE, 
	data_from DATE, 
	activated_on DATE, 
	session_number INTEGER DEFAULT '1' NOT NULL, 
	home VARCHAR(32), 
	CONSTRAINT pk_accounts PRIMARY KEY (id)
);
INSERT INTO "accounts" VALUES('xc00v7t6psm4','default','enedis','ready','','2024-10-29 07:00:00.010582','2024-10-29 07:00:00.010582','2024-08-01',NULL,NULL,NULL,1,NULL);
INSERT INTO "accounts" VALUES('qqcm0bx90qv6','default','grdf','ready','','2024-10-29 07:00:00.060033','2024-10-29 07:00:00.060033','2000-01-01','2099-12-31',NULL,'2024-09-03',1,NULL);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0008');
CREATE TABLE api_tokens (
	id VARCHAR(32) NOT NULL, 
	tenant VARCHAR(32) DEFAULT 'default' NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	scopes TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	last_used_at DATETIME, 
	expires_at DATETIME, 
	revoked_at DATETIME, 
	CONSTRAINT pk_api_tokens PRIMARY KEY (id)
);
CREATE TABLE audit_log (
	id VARCHAR(32) NOT NULL, 
	at DATETIME NOT NULL, 
	tenant VARCHAR(32), 
	actor_kind VARCHAR(16) NOT NULL, 
	actor VARCHAR(100) NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	account_id VARCHAR(32), 
	subject VARCHAR(100), 
	address VARCHAR(64), 
	outcome VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_audit_log PRIMARY KEY (id)
);
INSERT INTO "audit_log" VALUES('06618c0abc26392b7772bd41','2026-12-01 05:46:03.682361',NULL,'command','root','schema.migrate',NULL,NULL,NULL,'ok');
INSERT INTO "audit_log" VALUES('06618c0abe40dbfd559a9f0a','2026-12-01 05:46:03.820251','default','command','root','account.add','xc00v7t6psm4',NULL,NULL,'ok');
INSERT INTO "audit_log" VALUES('06618c0ac0b99d32da48b8a7','2026-12-01 05:46:03.982237','default','command','root','account.add','qqcm0bx90qv6','6ab223cc49aea6a0396c',NULL,'ok');
INSERT INTO "audit_log" VALUES('06618c0ac846ad0fc5f3ee19','2026-12-01 05:46:04.477101','default','command','root','account.backfill','qqcm0bx90qv6',NULL,NULL,'ok');
INSERT INTO "audit_log" VALUES('06618c0acb2b2f5959a1d862','2026-12-01 05:46:04.666671','default','command','root','account.sync','qqcm0bx90qv6',NULL,NULL,'ok');
INSERT INTO "audit_log" VALUES('06618c0ad38e32eda76c8324','2026-12-01 05:46:05.216306','default','command','root','account.backfill','xc00v7t6psm4',NULL,NULL,'ok');
INSERT INTO "audit_log" VALUES('06618c0ad820e4ad4a44ded3','2026-12-01 05:46:05.516004','default','command','root','account.sync','xc00v7t6psm4',NULL,NULL,'ok');
INSERT INTO "audit_log" VALUES('06618c0adbb6311cea023e85','2026-12-01 05:46:05.750833',NULL,'command','root','output.add',NULL,'13af4c035efa7b04f581',NULL,'ok');
INSERT INTO "audit_log" VALUES('06618c0add2a65991540347c','2026-12-01 05:46:05.846117',NULL,'command','root','output.add',NULL,'c53a3088ce0c48f3f2c3',NULL,'ok');
INSERT INTO "audit_log" VALUES('06618c0ade7b947101a548bf','2026-12-01 05:46:05.932436',NULL,'command','root','output.add',NULL,'e442f0b1c6f01f5c41bf',NULL,'ok');
INSERT INTO "audit_log" VALUES('06618c0adfbbe38ab8186522','2026-12-01 05:46:06.014435',NULL,'command','root','output.add',NULL,'c2ef89acdaff46e5b2eb',NULL,'ok');
INSERT INTO "audit_log" VALUES('06618c0ae0bcf5789b429143','2026-12-01 05:46:06.080245',NULL,'command','root','output.add',NULL,'8f5ff3ea9a7a3ba81536',NULL,'ok');
CREATE TABLE consent_chain (
	name VARCHAR(8) NOT NULL, 
	sequence BIGINT NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	sealed TEXT NOT NULL, 
	CONSTRAINT pk_consent_chain PRIMARY KEY (name)
);
INSERT INTO "consent_chain" VALUES('anchor',0,'0000000000000000000000000000000000000000000000000000000000000000','AgAAAABrDl8bisHVWyLIuU2kv6rx5m-EpigUJ47Zxt6oirA5eEjLyWENHNxmrAP51cgUOZsBI7yp5VO29APB_04S_OFY6uqmkD-xCHgkuU6IuzWo87gbGyWd8t58NisC2lBM5SRF0GS1pAJJnbVe2stL');
INSERT INTO "consent_chain" VALUES('head',2,'e37189f0339a5bfef91443b5a9ee6dc2c48a0b3d93bb27a38076d81c31a96efd','AgAAAABrDl8bHxiTd-5nOOUKPbu8cHflw7uJa7trihgO9rK7yBE4TNU_aAdjPO4HzAqu9SY56NL5st3ZWgCflZizU3Qq1O9XSu7b_sL6HxGEmTKfQW9LZlVIwmsQFfloDu_nmiljQO_iZs5dAdhUsw==');
CREATE TABLE consent_evidence (
	sequence BIGINT NOT NULL, 
	event VARCHAR(16) NOT NULL, 
	consent_id VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	tenant VARCHAR(32) NOT NULL, 
	supplier VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	proof VARCHAR(16) NOT NULL, 
	actor VARCHAR(100), 
	browser VARCHAR(64), 
	recorded_at DATETIME NOT NULL, 
	consent_from DATE, 
	consent_until DATE, 
	dates_from VARCHAR(16), 
	line VARCHAR(200), 
	end_reason VARCHAR(64) NOT NULL, 
	personal_digest VARCHAR(64) NOT NULL, 
	sealed_personal TEXT, 
	previous_hash VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_consent_evidence PRIMARY KEY (sequence), 
	CONSTRAINT uq_consent_evidence_consent_id UNIQUE (consent_id, event), 
	CONSTRAINT fk_consent_evidence_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "consent_evidence" VALUES(1,'given','01b5b7892e7995f23770','xc00v7t6psm4','default','enedis','asserted','asserted','cli:made up',NULL,'2024-10-29 07:00:00.010582','2024-08-01',NULL,'asserted',NULL,'','c7d70825a6c617c6bb6cb80b70bce3f3b2afb3a90f3d1da754731b99f5e76bc0','AgAAAABrDl8b71Ute370LTGEtvQ7SqPNxFp4nJ_06udEzvngj3RAlXGc59HGausPFq1efuIoiQmYR4K2hxLpTsFZFiPDjcrdfnwYkDt4_X_RJ1wgHb0gHgFJ-Quqghuk78Nb2lKAyKbRdRoXOrm4SFYCAWhxtGZzShZazrCQcnuW8y_JMTJEax3nXMofHbW4LMFBw_lbizHBuySwAzXYQlQnT_psghkujac-Ie_6t1jwQITfJtOCxIVx2HNJNg==','0000000000000000000000000000000000000000000000000000000000000000','237e1445de3b49d35694a1ef230dc83abd83fa55d4438b6dcf3d00ba0938190e');
INSERT INTO "consent_evidence" VALUES(2,'given','ea74727f15b59e132d93','qqcm0bx90qv6','default','grdf','right','own','cli:root',NULL,'2024-10-29 07:00:00.060033','2000-01-01','2099-12-31','supplier',NULL,'','e19b5f11dd937c3aa9e80f770976c69f024712109ba6bc6ffa5e53a5ec142d88','AgAAAABrDl8bJVb8cCSSjRkoHVG63uR2RLCDbfyXHJG-KvoTTexdQTUGX7Wvti2Z65R16Iv4aor-zwCSxTbQGhWBJYJo6YdH-AMJuIxgAPL0vzHmslrJSoPCRZyO7FbshcjZTENZKv4FZmJ2lPQHfeC7_P6X2z7Et0ErR1rL9BvcyL4BEn0jKu_AVB1qQi4IX4VcEiQXkWdFVv49Pmq-a-7hwNamgGJVh6oZi6KuhfwAu5UBEyP2Fv7UWcWjpML7JRdpxlGyezxR0VZ-I5ewE8y1gC3OvP2nvSXF','237e1445de3b49d35694a1ef230dc83abd83fa55d4438b6dcf3d00ba0938190e','e37189f0339a5bfef91443b5a9ee6dc2c48a0b3d93bb27a38076d81c31a96efd');
CREATE TABLE consent_proofs (
	id VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	supplier VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	reference VARCHAR(64), 
	proof VARCHAR(16) DEFAULT 'none' NOT NULL, 
	vouched_by VARCHAR(100), 
	browser VARCHAR(64), 
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
	doctype VARCHAR(32) NOT NULL, 
	"key" VARCHAR(20) NOT NULL, 
	was_amount BIGINT NOT NULL, 
	became_amount BIGINT NOT NULL, 
	first_seen DATETIME, 
	changed_at DATETIME NOT NULL, 
	run_id VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_corrections PRIMARY KEY (account_id, doctype, "key", was_amount, became_amount), 
	CONSTRAINT fk_corrections_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE erasures (
	meter VARCHAR(64) NOT NULL, 
	erased_at DATETIME NOT NULL, 
	forget_on DATE NOT NULL, 
	CONSTRAINT pk_erasures PRIMARY KEY (meter)
);
CREATE TABLE freshness (
	hour DATETIME NOT NULL, 
	series VARCHAR(32) NOT NULL, 
	active INTEGER NOT NULL, 
	complete INTEGER NOT NULL, 
	CONSTRAINT pk_freshness PRIMARY KEY (hour, series)
);
CREATE TABLE household_accounts (
	household_id VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_household_accounts PRIMARY KEY (household_id, account_id), 
	CONSTRAINT fk_household_accounts_household_id FOREIGN KEY(household_id) REFERENCES households (id), 
	CONSTRAINT fk_household_accounts_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE households (
	id VARCHAR(32) NOT NULL, 
	sealed TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_households PRIMARY KEY (id)
);
CREATE TABLE invitations (
	id VARCHAR(32) NOT NULL, 
	tenant VARCHAR(32) DEFAULT 'default' NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	purpose VARCHAR(16) NOT NULL, 
	supplier VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32), 
	sealed_usage_point TEXT, 
	created_by VARCHAR(100) NOT NULL, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	opened_at DATETIME, 
	browser VARCHAR(64), 
	used_at DATETIME, 
	revoked_at DATETIME, 
	CONSTRAINT pk_invitations PRIMARY KEY (id), 
	CONSTRAINT fk_invitations_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE mail_addresses (
	household_id VARCHAR(32) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	sealed TEXT NOT NULL, 
	language VARCHAR(8) NOT NULL, 
	confirmed_at DATETIME NOT NULL, 
	CONSTRAINT pk_mail_addresses PRIMARY KEY (household_id), 
	CONSTRAINT fk_mail_addresses_household_id FOREIGN KEY(household_id) REFERENCES households (id)
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
	CONSTRAINT uq_notices_key UNIQUE ("key"), 
	CONSTRAINT fk_notices_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE operators (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(32) NOT NULL, 
	sealed TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	signed_in_at DATETIME, 
	ended_at DATETIME, 
	CONSTRAINT pk_operators PRIMARY KEY (id)
);
CREATE TABLE output_changes (
	output_id VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	series VARCHAR(32) NOT NULL, 
	first_at DATETIME NOT NULL, 
	last_at DATETIME NOT NULL, 
	writers INTEGER NOT NULL, 
	number BIGINT NOT NULL, 
	since DATETIME NOT NULL, 
	turn_at DATETIME NOT NULL, 
	noted_at DATETIME NOT NULL, 
	CONSTRAINT pk_output_changes PRIMARY KEY (output_id, account_id, series), 
	CONSTRAINT fk_output_changes_output_id FOREIGN KEY(output_id) REFERENCES outputs (id), 
	CONSTRAINT fk_output_changes_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE outputs (
	id VARCHAR(32) NOT NULL, 
	tenant VARCHAR(32) DEFAULT 'default' NOT NULL, 
	account_id VARCHAR(32), 
	kind VARCHAR(32) NOT NULL, 
	sealed TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	last_sent_at DATETIME, 
	tries INTEGER NOT NULL, 
	failing_since DATETIME, 
	next_try_at DATETIME, 
	last_code VARCHAR(64) NOT NULL, 
	last_error VARCHAR(200) NOT NULL, 
	CONSTRAINT pk_outputs PRIMARY KEY (id), 
	CONSTRAINT fk_outputs_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "outputs" VALUES('13af4c035efa7b04f581','default',NULL,'home-assistant','AgAAAABrDl8d8J5wjGiaiy76xKtZmhWaqEMBhxfEVEmH-PoFFWjV3b6T8SqzaFT4I4Imk4c9Sbjxvh-dHRe0xLrlMDp2kb6UAcy4TCeAM4aISC45MygZmNPwyt6qNsZwmJ6P0LvEFm-sIb-dWVuzCclKbegtrc2yIhWj6O5V7EZl','2024-10-29 07:00:00.045066','2024-10-29 07:00:00.083395',0,NULL,NULL,'','');
INSERT INTO "outputs" VALUES('c53a3088ce0c48f3f2c3','default',NULL,'mqtt','AgAAAABrDl8dKHMy1lSttXeY1nJUlet-0NVtR2p1UWUI7GnpOrDf1lSRnwatpQ_r9M1iREjUWXOD40TXpZfAVIeCPu9xqqXa9q3C87BCI3ueTqEQdoAknJQ9StkNMloWlSHJ143p36EzusdngtWubK4qiJN1evOUFQ00zb1qgV5DD90kDnxg','2024-10-29 07:00:00.020624','2024-10-29 07:00:00.226153',0,NULL,NULL,'','');
INSERT INTO "outputs" VALUES('e442f0b1c6f01f5c41bf','default',NULL,'webhook','AgAAAABrDl8dCDVSRsW6egLrvkavK5iyov8On143KWj59MOOU1iFIt0FzFPHIFP85s3tdxsRNj1QqjlRRGqKO_s5sCDGChKY022IELlV5l6KXbB70QkRzAoEWk74u63pgpDUsZBBq51Hd3wxHeZOecWcVPTboFcROzHcl41Shqth7DBQySUqupOJRjssr2Zx3UI=','2024-10-29 07:00:00.013585','2024-10-29 07:00:00.320061',0,NULL,NULL,'','');
INSERT INTO "outputs" VALUES('c2ef89acdaff46e5b2eb','default',NULL,'line-protocol','AgAAAABrDl8dhfEwIr1X28kF_GZl3Jg-zOI9v_b4Z3lBj1T66zgnILt0k8vKk_tNpHBXPLDOWBW1Pf8sJJgiENMvPr0aHdZmRq_KHvN7_cOsDgE2bG5r5Tl5OOX8HOxiGMYc1rpqiXfrowGZqZ8swcnPXFdch4myYYnylLyxbnn6NGbfvOOKfhJKpCJugnBhpaXRJ4Frgn26Pg==','2024-10-29 07:00:00.023039','2024-10-29 07:00:00.179131',0,NULL,NULL,'','');
INSERT INTO "outputs" VALUES('8f5ff3ea9a7a3ba81536','default',NULL,'line-protocol','AgAAAABrDl8e0rgKPP49yvwstRK3GTGopyTJtpe1gPo-qF9JNkvIpVvEMa9ZIDkIfaf4OqJBydc-O8yJGykfvneO3KwNE0o3u7fhDJwNL_pW8HQOLxScEXT5LdiDO5TiltMJkLLc0i3IQH_WoWPfigluoG_wDO8899gkYi41fgERgNl9ml-2u4SvKg==','2024-10-29 07:00:00.016739','2024-10-29 07:00:00.114067',0,NULL,NULL,'','');
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
CREATE TABLE proxy_clients (
	id VARCHAR(32) NOT NULL, 
	tenant VARCHAR(32) DEFAULT 'default' NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	redirect_uris TEXT NOT NULL, 
	pkce BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	revoked_at DATETIME, 
	CONSTRAINT pk_proxy_clients PRIMARY KEY (id)
);
CREATE TABLE proxy_grants (
	id VARCHAR(32) NOT NULL, 
	client_id VARCHAR(32) NOT NULL, 
	supplier VARCHAR(32) NOT NULL, 
	meter VARCHAR(64) NOT NULL, 
	proof VARCHAR(16) NOT NULL, 
	vouched_by VARCHAR(100), 
	granted_at DATETIME NOT NULL, 
	browser VARCHAR(64), 
	data_from DATE, 
	consent_until DATE, 
	access_hash VARCHAR(64) NOT NULL, 
	access_expires_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	end_reason VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_proxy_grants PRIMARY KEY (id), 
	CONSTRAINT fk_proxy_grants_client_id FOREIGN KEY(client_id) REFERENCES proxy_clients (id)
);
CREATE TABLE proxy_refresh_tokens (
	hash VARCHAR(64) NOT NULL, 
	grant_id VARCHAR(32) NOT NULL, 
	issued_at DATETIME NOT NULL, 
	used_at DATETIME, 
	CONSTRAINT pk_proxy_refresh_tokens PRIMARY KEY (hash), 
	CONSTRAINT fk_proxy_refresh_tokens_grant_id FOREIGN KEY(grant_id) REFERENCES proxy_grants (id)
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
CREATE TABLE reading_tries (
	meter VARCHAR(64) NOT NULL, 
	day DATE NOT NULL, 
	tries SMALLINT NOT NULL, 
	wrong INTEGER NOT NULL, 
	CONSTRAINT pk_reading_tries PRIMARY KEY (meter)
);
CREATE TABLE rights (
	id VARCHAR(32) NOT NULL, 
	tenant VARCHAR(32) DEFAULT 'default' NOT NULL, 
	supplier VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32), 
	meter VARCHAR(64) NOT NULL, 
	sealed TEXT NOT NULL, 
	sealed_at DATETIME NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	state_since DATETIME NOT NULL, 
	opened_at DATETIME, 
	proof VARCHAR(16), 
	proof_until DATE, 
	first_day DATE, 
	last_day DATE, 
	vouched_by VARCHAR(100), 
	invited_at DATETIME, 
	for_new_holder BOOLEAN NOT NULL, 
	is_found BOOLEAN NOT NULL, 
	browser VARCHAR(64), 
	line VARCHAR(200), 
	begun_at DATETIME, 
	declared_at DATETIME, 
	checked_at DATETIME, 
	withdraw_since DATETIME, 
	CONSTRAINT pk_rights PRIMARY KEY (id), 
	CONSTRAINT fk_rights_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "rights" VALUES('6ab223cc49aea6a0396c','default','grdf','qqcm0bx90qv6','95945cf7f10a69e691ea815f9fff37560e913d24b50be11d6b2dd211c2677ae6','AgAAAABrDl8b-3ZtBF6dK9aTEcQMEalG1uN8cRkxt4-QykGY078EcObdt_AWG8dNzxEy6S7BWk2-W0vMaEfOGMAXFluBnR22wXwyqYuxcdGrtb3dloZYSAXCX6ubUGDOYmP9RjjudaBOzqxWBsnDLaHk6JzGV2oDf_fb4m_-8P2CBNtLj-VvS0STjQ==','2026-12-01 05:46:03.930827','own','active','2024-10-29 07:00:00.027741','2024-10-29 07:00:00.060033',NULL,NULL,'2000-01-01','2099-12-31','cli:root',NULL,0,1,NULL,NULL,'2026-12-01 05:46:03.902988','2024-10-29 07:00:00.027741','2024-10-29 07:00:00.027741',NULL);
CREATE TABLE series_outcomes (
	account_id VARCHAR(32) NOT NULL, 
	series VARCHAR(32) NOT NULL, 
	switch VARCHAR(8) DEFAULT 'fleet' NOT NULL, 
	switch_before VARCHAR(8), 
	collected BOOLEAN DEFAULT 1 NOT NULL, 
	active BOOLEAN NOT NULL, 
	ask_until DATE, 
	every SMALLINT NOT NULL, 
	asked_at DATETIME NOT NULL, 
	last_answer VARCHAR(16), 
	again_at DATETIME, 
	failures SMALLINT NOT NULL, 
	history_due_at DATETIME, 
	days TEXT NOT NULL, 
	answered TEXT, 
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
INSERT INTO "series_outcomes" VALUES('xc00v7t6psm4','daily','fleet',NULL,1,1,NULL,1,'2000-01-01 00:00:00.000000',NULL,NULL,0,NULL,'2021-10-30 1032a 1l@63 1l@62 1l@61 1l@60 1l@59 1l@58 1l@57 1l@56 1l@55 1l@54 1l@53 1l@52 1l@51 1l@50 1l@49 1l@48 1l@47 1l@46 1l@45 1l@44 1l@43 1l@42 1l@41 1l@40 1l@39 1l@38 1l@37 1l@36 1l@35 1l@34 1l@33 32c','0 2024-09-29/2024-10-29@1730185200047664 2023-10-30/2024-10-29@1730185200051303 2022-10-30/2023-10-30@1730185200162611 2021-10-30/2022-10-30@1730185200193878','2024-10-30','2024-10-28','2024-10-28','20241029T070000.193439',NULL,'','2024-10-29 07:00:00.204214',1,'2024-10-29 07:00:00.204214');
INSERT INTO "series_outcomes" VALUES('xc00v7t6psm4','load_curve','fleet',NULL,1,1,NULL,1,'2000-01-01 00:00:00.000000',NULL,NULL,0,NULL,'2024-10-22 7c','0 2024-10-22/2024-10-29@1730185200128957 2024-10-22/2024-10-29@1730185200219556',NULL,'2024-10-28','2024-10-28','20241029T070000.218949',NULL,'','2024-10-29 07:00:00.308284',1,'2024-10-29 07:00:00.308284');
INSERT INTO "series_outcomes" VALUES('xc00v7t6psm4','production_daily','fleet',NULL,1,1,NULL,1,'2000-01-01 00:00:00.000000',NULL,NULL,0,NULL,'2021-10-30 1032a 1l@63 1l@62 1l@61 1l@60 1l@59 1l@58 1l@57 1l@56 1l@55 1l@54 1l@53 1l@52 1l@51 1l@50 1l@49 1l@48 1l@47 1l@46 1l@45 1l@44 1l@43 1l@42 1l@41 1l@40 1l@39 1l@38 1l@37 1l@36 1l@35 1l@34 1l@33 1l@32 1l@31 1l@30 1l@29 28c','0 2024-09-29/2024-10-29@1730185200192943 2023-10-30/2024-10-29@1730185200343361 2022-10-30/2023-10-30@1730185200425487 2021-10-30/2022-10-30@1730185200448354','2024-10-30','2024-10-28','2024-10-28','20241029T070000.447300',NULL,'','2024-10-29 07:00:00.457532',1,'2024-10-29 07:00:00.457532');
INSERT INTO "series_outcomes" VALUES('qqcm0bx90qv6','gas_daily','fleet',NULL,1,1,'2099-12-31',1,'2000-01-01 00:00:00.000000',NULL,NULL,0,NULL,'2021-10-30 1032a 1l@63 1l@62 1l@61 1l@60 1l@59 1l@58 1l@57 1l@56 1l@55 1l@54 1l@53 1l@52 1l@51 1l@50 1l@49 1l@48 1l@47 1l@46 1l@45 1l@44 1l@43 1l@42 1l@41 1l@40 1l@39 1l@38 1l@37 1l@36 1l@35 1l@34 1l@33 1l@32 1l@31 1l@30 1l@29 27c 1l@1','0 2021-10-30/2024-10-29@1730185200018412 2024-09-29/2024-10-29@1730185200035716','2024-10-30','2024-10-27','2024-10-27','20241029T070000.032197',NULL,'','2024-10-29 07:00:00.207294',1,'2024-10-29 07:00:00.207294');
INSERT INTO "series_outcomes" VALUES('qqcm0bx90qv6','gas_published','fleet',NULL,1,1,'2099-12-31',1,'2000-01-01 00:00:00.000000',NULL,NULL,0,NULL,'2019-10-31 1425a 344b 28c 1l@28 1l@27 1l@26 1l@25 1l@24 1l@23 1l@22 1l@21 1l@20 1l@19 1l@18 1l@17 1l@16 1l@15 1l@14 1l@13 1l@12 1l@11 1l@10 1l@9 1l@8 1l@7 1l@6 1l@5 1l@4 1l@3 1l@2 1l@1','0 2023-09-25/2024-10-29@1730185200099890 2019-10-31/2024-10-29@1730185200237051',NULL,'2024-09-30','2024-09-30','20241029T070000.236612',NULL,'','2024-10-29 07:00:00.270164',1,'2024-10-29 07:00:00.270164');
INSERT INTO "series_outcomes" VALUES('qqcm0bx90qv6','gas_contract','fleet',NULL,1,1,'2099-12-31',1,'2000-01-01 00:00:00.000000',NULL,NULL,0,NULL,'2024-10-28 1c','0 2024-10-28/2024-10-29@1730185200118469 2024-10-28/2024-10-29@1730185200298139',NULL,'2024-10-28','2024-10-28','20241029T070000.297558',NULL,'','2024-10-29 07:00:00.327209',1,'2024-10-29 07:00:00.327209');
CREATE TABLE tenants (
	id VARCHAR(32) NOT NULL, 
	title VARCHAR(100) NOT NULL, 
	sealed_webhook TEXT, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_tenants PRIMARY KEY (id)
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
	revoke_since DATETIME, 
	CONSTRAINT pk_tokens PRIMARY KEY (id)
);
CREATE TABLE usage_points (
	account_id VARCHAR(32) NOT NULL, 
	supplier VARCHAR(32) NOT NULL, 
	usage_point_id VARCHAR(32) NOT NULL, 
	direction VARCHAR(16) NOT NULL, 
	CONSTRAINT pk_usage_points PRIMARY KEY (account_id), 
	CONSTRAINT uq_usage_points_usage_point_id UNIQUE (usage_point_id, supplier, direction), 
	CONSTRAINT fk_usage_points_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "usage_points" VALUES('xc00v7t6psm4','enedis','30001640000177','consumption');
INSERT INTO "usage_points" VALUES('qqcm0bx90qv6','grdf','21546000000177','consumption');
CREATE INDEX ix_accounts_state_id ON accounts (state, id);
CREATE INDEX ix_accounts_tenant_id ON accounts (tenant, id);
CREATE INDEX ix_tokens_expires_at ON tokens (expires_at);
CREATE INDEX ix_tokens_revoke_since ON tokens (revoke_since);
CREATE INDEX ix_erasures_forget_on ON erasures (forget_on);
CREATE UNIQUE INDEX ix_operators_name ON operators (name) WHERE ended_at IS NULL;
CREATE INDEX ix_access_keys_last_seen_at ON access_keys (last_seen_at);
CREATE INDEX ix_access_keys_owner ON access_keys (owner, kind);
CREATE INDEX ix_audit_log_account_id ON audit_log (account_id, at);
CREATE INDEX ix_audit_log_at ON audit_log (at);
CREATE TRIGGER audit_log_unchanged BEFORE UPDATE ON audit_log
        BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE TRIGGER audit_log_kept BEFORE DELETE ON audit_log
        WHEN OLD.at > datetime('now', '-400 days')
        BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE INDEX ix_token_users_token_id ON token_users (token_id);
CREATE INDEX ix_series_outcomes_history ON series_outcomes (series, history_due_at, account_id) WHERE active = true AND history_due_at IS NOT NULL;
CREATE INDEX ix_series_outcomes_repair ON series_outcomes (next_ask, account_id) WHERE active = true AND next_ask IS NOT NULL;
CREATE INDEX ix_series_outcomes_catch_up ON series_outcomes (series, last_day, account_id) WHERE active = true;
CREATE INDEX ix_series_outcomes_again ON series_outcomes (again_at) WHERE active = true AND again_at IS NOT NULL;
CREATE INDEX ix_series_outcomes_updated_at ON series_outcomes (updated_at);
CREATE INDEX ix_series_outcomes_nightly ON series_outcomes (series, every, asked_at, account_id, again_at, ask_until) WHERE active = true;
CREATE INDEX ix_consent_evidence_account_id ON consent_evidence (account_id);
CREATE INDEX ix_consent_proofs_account_id ON consent_proofs (account_id);
CREATE INDEX ix_consent_proofs_ended_at ON consent_proofs (ended_at);
CREATE INDEX ix_rights_withdraw_since ON rights (withdraw_since);
CREATE INDEX ix_rights_supplier_state ON rights (supplier, state, id);
CREATE INDEX ix_rights_account_id ON rights (account_id);
CREATE INDEX ix_rights_meter ON rights (meter);
CREATE INDEX ix_rights_browser ON rights (browser);
CREATE INDEX ix_invitations_expires_at ON invitations (expires_at);
CREATE INDEX ix_invitations_account_id ON invitations (account_id);
CREATE INDEX ix_pending_refusals_code_last_seen ON pending_refusals (code, last_seen);
CREATE INDEX ix_notices_account_id ON notices (account_id);
CREATE INDEX ix_notices_next_attempt_at ON notices (next_attempt_at);
CREATE INDEX ix_proxy_grants_meter ON proxy_grants (meter);
CREATE INDEX ix_proxy_grants_client_id ON proxy_grants (client_id);
CREATE INDEX ix_household_accounts_account_id ON household_accounts (account_id);
CREATE INDEX ix_mail_addresses_hash ON mail_addresses (hash);
CREATE INDEX ix_corrections_changed_at ON corrections (changed_at);
CREATE INDEX ix_raw_answers_packed ON raw_answers (packed, month, account_id);
CREATE INDEX ix_raw_answers_last_at ON raw_answers (last_at);
CREATE INDEX ix_raw_answers_account_id ON raw_answers (account_id, month);
CREATE INDEX ix_outputs_account_id ON outputs (account_id);
CREATE INDEX ix_outputs_tenant ON outputs (tenant);
CREATE INDEX ix_proxy_refresh_tokens_grant_id ON proxy_refresh_tokens (grant_id);
CREATE INDEX ix_output_changes_account_id ON output_changes (account_id);
CREATE INDEX ix_output_changes_output_id ON output_changes (output_id, turn_at, account_id);
COMMIT;
