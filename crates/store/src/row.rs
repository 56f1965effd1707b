//! Rows as they lie in the database. Private to this crate: each module turns them into domain
//! words.

macro_rules! row {
    ($module:ident, $table:literal, { $($(#[$attr:meta])* $field:ident: $ty:ty),+ $(,)? }) => {
        pub(crate) mod $module {
            use sea_orm::entity::prelude::*;

            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = $table)]
            pub struct Model { $($(#[$attr])* pub $field: $ty),+ }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}
        }
    };
}

row!(account, "accounts", { #[sea_orm(primary_key, auto_increment = false)] id: String, name: String, folded: String, automation: bool, tip: bool, change_seq: i64, created_at: i64, silent_after: Option<i64>, nobody_told: bool, webhook_url: Option<String>, guards: String, guards_version: i64, guards_due: Option<i64> });
row!(user, "users", { #[sea_orm(primary_key, auto_increment = false)] id: Uuid, account_id: String, email: String, password_hash: String, role: i16, active: bool, created_at: i64, mail_alerts: bool });
row!(session, "sessions", { #[sea_orm(primary_key, auto_increment = false)] id: Uuid, account_id: String, user_id: Uuid, created_at: i64, expires_at: i64 });
row!(attempt, "login_attempts", { #[sea_orm(primary_key, auto_increment = false)] subject: String, failures: i32, window_start: i64, blocked_until: i64 });
row!(key, "keys", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    account_id: String, kind: i16, device_id: Option<Uuid>, prefix: String, hash: String,
    created_at: i64, expires_at: Option<i64>, revoked_at: Option<i64>, last_used_at: Option<i64>,
});
row!(service_token, "service_tokens", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    account_id: String, name: String, scope: i16, device_id: Option<Uuid>, source_id: Option<Uuid>, prefix: String, hash: String,
    made_by: String, created_at: i64, expires_at: Option<i64>, revoked_at: Option<i64>, last_used_at: Option<i64>,
    days: Option<i64>, replaced_by: Option<Uuid>,
});
row!(source, "sources", { #[sea_orm(primary_key, auto_increment = false)] id: Uuid, account_id: String, name: String, folded: String, confidence: i16, enabled: bool, created_at: i64, kind: i16, description: String, limits: String });
row!(source_day, "source_days", {
    #[sea_orm(primary_key, auto_increment = false)] source_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] day: i64,
    counted_at: i64, iocs: i64, only_here: i64, timed: i64, first_here: i64, never_sent: i64, kept_back: i64, in_groups: i64, handled: i64, refused: i64, fetched: i64,
});
row!(source_overlap, "source_overlaps", {
    #[sea_orm(primary_key, auto_increment = false)] source_a: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] source_b: Uuid,
    account_id: String, iocs: i64,
});
row!(source_count, "source_counts", {
    #[sea_orm(primary_key, auto_increment = false)] account_id: String,
    day: i64, counted_at: Option<i64>, imports_until: i64, claimed_until: i64,
});
row!(change, "changes", { #[sea_orm(primary_key, auto_increment = false)] account_id: String, #[sea_orm(primary_key, auto_increment = false)] seq: i64, at: i64 });
row!(alert, "alerts", {
    #[sea_orm(primary_key, auto_increment = false)] account_id: String,
    #[sea_orm(primary_key, auto_increment = false)] id: String,
    kind: i16, severity: i16, closed: bool, found_at: i64, received_at: i64, updated_at: i64, document: String,
});
row!(quota, "quotas", { #[sea_orm(primary_key, auto_increment = false)] account_id: String, #[sea_orm(primary_key, auto_increment = false)] day: String, used: i32 });
row!(ioc, "iocs", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    account_id: String, seq: i64, kind: i16, value: String, value_head: String, reversed_host: Option<String>,
    first_seen: i64, last_seen: i64, severity: i16, state: i16, retires_at: i64, whitelist: i16, enrichment: String,
    created_at: i64, deleted_at: Option<i64>, precedence: Option<i64>, first_seq: i64,
});
row!(ioc_day, "ioc_days", {
    #[sea_orm(primary_key, auto_increment = false)] account_id: String,
    #[sea_orm(primary_key, auto_increment = false)] day: i64,
    #[sea_orm(primary_key, auto_increment = false)] kind: i16,
    #[sea_orm(primary_key, auto_increment = false)] severity: i16,
    iocs: i64, counted_at: i64,
});
row!(threat_name, "threat_names", {
    #[sea_orm(primary_key, auto_increment = false)] account_id: String,
    #[sea_orm(primary_key, auto_increment = false)] folded: String,
    #[sea_orm(primary_key, auto_increment = false)] what: i16,
    id: Uuid, name: String,
});
row!(ioc_name, "ioc_names", { #[sea_orm(primary_key, auto_increment = false)] name_id: Uuid, #[sea_orm(primary_key, auto_increment = false)] ioc_id: Uuid });
row!(ioc_source, "ioc_sources", { #[sea_orm(primary_key, auto_increment = false)] source_id: Uuid, #[sea_orm(primary_key, auto_increment = false)] ioc_id: Uuid, first_at: Option<i64> });
row!(import, "imports", { #[sea_orm(primary_key, auto_increment = false)] id: Uuid, account_id: String, alive_until: i64, review: bool });
row!(subscription, "subscriptions", {
    #[sea_orm(primary_key, auto_increment = false)] source_id: Uuid,
    account_id: String, url: String, form: Option<String>, every: i64, coverage: i16, grace: i64,
    access: i16, access_name: String, secret: Vec<u8>, paused: bool, next_at: i64, claimed_until: i64,
    tried_at: Option<i64>, ok_at: Option<i64>, changed_at: Option<i64>, failures: i32, error: Option<String>,
    etag: Option<String>, last_modified: Option<String>, sha256: Option<String>, listed: i64,
    protocol: i16, options: String, tls_key: Option<Vec<u8>>, cursor: Option<String>, failing_since: Option<i64>, told: bool,
});
row!(subscription_section, "subscription_sections", {
    #[sea_orm(primary_key, auto_increment = false)] source_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] name: String,
    version: String, data: Vec<u8>,
});
row!(fetch, "fetches", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    source_id: Uuid, at: i64, outcome: i16, status: Option<i32>, bytes: i64, listed: i64, added: i64, changed: i64,
    gone: i64, refused: i64, import_id: Option<Uuid>, error: Option<String>,
});
row!(subscription_ledger, "subscription_ledgers", {
    #[sea_orm(primary_key, auto_increment = false)] source_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] number: i32,
    data: Vec<u8>,
});
row!(subscription_missing, "subscription_missing", {
    #[sea_orm(primary_key, auto_increment = false)] source_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] ioc_id: Uuid,
    since: i64,
});
row!(warninglist, "warninglists", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    account_id: String, name: String, folded: String, description: String, version: i64, matching: i16, attributes: String,
    mode: i16, entries: i64, left_out: String, sha256: String, updated_at: i64,
});
row!(warninglist_body, "warninglist_bodies", {
    #[sea_orm(primary_key, auto_increment = false)] list_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] number: i32,
    data: Vec<u8>,
});
row!(import_record, "import_records", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    account_id: String, source_id: Uuid, source_name: String, made_by: String, file_name: Option<String>, sha256: String, bytes: i64,
    started_at: i64, ended_at: Option<i64>, state: i16, handled: i64, seq: Option<i64>, request: String, report: String, error: Option<String>, undone: Option<String>,
});
row!(import_line, "import_lines", {
    #[sea_orm(primary_key, auto_increment = false)] import_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] number: i32,
    remark: bool, line: i64, value: String, reason: String,
});
row!(import_body, "import_bodies", {
    #[sea_orm(primary_key, auto_increment = false)] import_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] number: i32,
    data: Vec<u8>,
});
row!(staged, "ioc_stage", {
    #[sea_orm(primary_key, auto_increment = false)] import_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    change: i16, kind: i16, value: String, value_head: String, reversed_host: Option<String>,
    first_seen: i64, last_seen: i64, severity: i16, state: i16, retires_at: i64, whitelist: i16, enrichment: String,
    created_at: i64, precedence: Option<i64>, left_out: bool,
});
row!(device, "devices", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    account_id: String, name: String, folded: String, device_type: String, ioc_limit: i32, paused: bool, last_pull_at: Option<i64>, created_at: i64,
    silent_after: Option<i64>, watched_since: i64, labels: String, paused_until: Option<i64>,
});
row!(group, "ioc_groups", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    account_id: String, device_id: Uuid, name: String, folded: String, ioc_limit: i32, source_priority: String, notify_on_limit: bool, created_at: i64,
    config_version: i64, applied_config: i64, applied_seq: i64, publication: i64, live: i32, cut: String,
    due_at: Option<i64>, latest_stamp: Option<i64>, claim_token: Option<Uuid>, claim_until: i64, limit_told: bool,
    kind: Option<i16>, collapse: bool, frozen: Option<i64>, held: Option<String>, held_until: Option<i64>, held_seq: Option<i64>, held_config: Option<i64>, let_through: Option<i64>,
    boundary: Option<String>, restored: Option<i64>, aged_day: Option<i64>,
});
row!(rule, "rules", { #[sea_orm(primary_key, auto_increment = false)] id: Uuid, account_id: String, name: String, folded: String, enabled: bool, criteria: String, created_at: i64 });
row!(rule_group, "rule_groups", { #[sea_orm(primary_key, auto_increment = false)] rule_id: Uuid, #[sea_orm(primary_key, auto_increment = false)] group_id: Uuid });
row!(part, "parts", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    group_id: Uuid, day: String, number: i32, group_name: String, stamp: i64, sealed: bool, total: i32, live: i32, #[sea_orm(column_name = "dirty")] pending: bool, #[sea_orm(column_name = "rested_at")] next_change_at: i64,
    manifest_entry: String, event_segment: String, hashes_segment: String, offer_again: bool, first_segment: Option<String>, version: Option<String>,
});
row!(member, "members", {
    #[sea_orm(primary_key, auto_increment = false)] part_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] ioc_id: Uuid,
    group_id: Uuid, standing: i16, joined_at: i64, stamp: i64, fingerprint: i64, #[sea_orm(column_name = "dirty")] pending: bool, left_at: Option<i64>, leave_reason: i16, resend: bool, #[sea_orm(column_name = "reborn")] readded: bool, #[sea_orm(column_name = "span")] merged_prefix: Option<i16>,
});
row!(refused, "refused_iocs", { #[sea_orm(primary_key, auto_increment = false)] group_id: Uuid, #[sea_orm(primary_key, auto_increment = false)] ioc_id: Uuid, reason: i16 });
row!(publication, "publications", {
    #[sea_orm(primary_key, auto_increment = false)] group_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] number: i64,
    created_at: i64, seq: i64, live: i32, added: i32, removed: i32, files: String, before: Option<Vec<u8>>,
});
row!(blob, "blobs", {
    #[sea_orm(primary_key, auto_increment = false)] group_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] hash: String,
    last_publication: i64, data: Vec<u8>,
});
row!(pull, "pulls", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    device_id: Uuid, group_id: Uuid, failed: bool, at: i64, first_at: i64, count: i32, address: String, user_agent: String,
    misp_version: Option<String>, misp_uuid: Option<String>, status: i16, bytes: i64, reason: Option<String>, events: i32,
});
row!(client, "clients", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    device_id: Uuid, key_id: Uuid, misp_uuid: Option<String>, misp_version: Option<String>, user_agent: String, first_at: i64, last_at: i64,
});
row!(receipt, "receipts", {
    #[sea_orm(primary_key, auto_increment = false)] client_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] group_id: Uuid,
    publication: i64, fetched_at: i64, confirmed: Option<i64>, confirmed_at: Option<i64>, check_at: Option<i64>, first_at: i64,
});
row!(event_receipt, "event_receipts", {
    #[sea_orm(primary_key, auto_increment = false)] client_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] event: Uuid,
    group_id: Uuid, version: Uuid, publication: i64, fetched_at: i64, times: i32, offered: i32, stored: bool, mistaken: bool, pulled_at: i64, corrections: i32, reported: bool, versions: i32,
});
row!(protection, "protections", { #[sea_orm(primary_key, auto_increment = false)] group_id: Uuid, state: String, due_at: i64, version: i64 });
row!(protection_count, "protection_counts", { #[sea_orm(primary_key, auto_increment = false)] state: String, total: i64 });
row!(withdrawal, "withdrawals", {
    #[sea_orm(primary_key, auto_increment = false)] ioc_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] group_id: Uuid,
    publication: i64, event: Option<Uuid>, at: i64,
});
row!(pull_hour, "pull_hours", { #[sea_orm(primary_key, auto_increment = false)] device_id: Uuid, #[sea_orm(primary_key, auto_increment = false)] hour: i64, pulls: i32, failures: i32 });
row!(audit, "audit", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    account_id: String, at: i64, actor: String, action: String, object: String, detail: String, address: String, request_id: String,
});
row!(idempotency, "idempotency", {
    #[sea_orm(primary_key, auto_increment = false)] account_id: String,
    #[sea_orm(primary_key, auto_increment = false)] key: String,
    operation: String, body_hash: String, status: i16, answer: String, created_at: i64,
});
row!(feed_change, "feed_changes", { #[sea_orm(primary_key, auto_increment = false)] version: i64, #[sea_orm(primary_key, auto_increment = false)] group_id: Uuid });
row!(setting, "settings", { #[sea_orm(primary_key, auto_increment = false)] name: String, value: String });
row!(outage, "outages", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    account_id: String, device_id: Uuid, began_at: i64, noticed_at: i64, ended_at: Option<i64>, ended_by: Option<i16>,
});
row!(message, "messages", {
    #[sea_orm(primary_key, auto_increment = false)] id: Uuid,
    account_id: String, kind: i16, recipient: String, message_id: String, subject: String, body_text: String, body_html: String,
    state: i16, attempts: i32, created_at: i64, next_at: i64, claim_token: Option<Uuid>, claim_until: i64,
    settled_at: Option<i64>, last_answer: Option<String>, subject_key: Option<String>, after_message: Option<Uuid>, maybe_sent: bool, digest: i16,
});
row!(message_item, "message_items", {
    #[sea_orm(primary_key, auto_increment = false)] item_key: String,
    message_id: Uuid, content: String,
});
row!(outage_message, "outage_messages", {
    #[sea_orm(primary_key, auto_increment = false)] outage_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)] recipient: String,
    #[sea_orm(primary_key, auto_increment = false)] kind: i16,
    message_id: Uuid,
});
row!(key_change, "key_changes", {
    #[sea_orm(primary_key, auto_increment = false)] version: i64,
    #[sea_orm(primary_key, auto_increment = false)] hash: String,
});
row!(gap, "gaps", { #[sea_orm(primary_key, auto_increment = false)] from_at: i64, to_at: i64 });
