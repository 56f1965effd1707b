//! The words that a field may hold, for the OpenAPI document, from the types that read and write
//! them.

use iocast_domain::{
    account::Role,
    alert::AlertKind,
    device_type::CATALOGUE,
    guard::Refusal,
    import::{Choice, ImportState},
    ioc::{Kind, Severity, State, Whitelist},
    key::KeyKind,
    message::{MessageKind, MessageState},
    receipt::Protection,
    rule::StateFilter,
    service_token::Scope,
    staleness::{Dot, Reason},
    subscription::{Access, Coverage, FetchOutcome, Freshness, Protocol},
    threat_name::NameKind,
    tlp::Tlp,
    warninglist::{ListMode, Matching},
    watch::EndedBy,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::{
    OpenApi, RefOr, Schema,
    schema::{ArrayItems, SchemaType, Type},
};

use crate::configuration::Action;

/// The words of values, each once.
fn words<T: Serialize>(all: impl IntoIterator<Item = T>) -> Vec<Value> {
    let mut words: Vec<Value> = Vec::new();
    for word in all.into_iter().filter_map(|one| serde_json::to_value(one).ok()) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// Fields (`Schema.field`) and query parameters (`/path?name`), and their words.
#[expect(clippy::too_many_lines, reason = "a table of fields")]
fn fields() -> Vec<(&'static [&'static str], Vec<Value>)> {
    let kinds = || words(Kind::ALL);
    vec![
        (&["ProtectionOut.state"], words(Protection::CODES)),
        (&["ImportRecordOut.state", "/api/v1/imports?state"], words(ImportState::ALL)),
        (&["FixturesIn.load"], words(iocast_app::FIXTURES.iter().map(|of| of.name))),
        (&["SelectIn.choice"], words([Choice::Take, Choice::LeaveOut])),
        (&["/api/v1/imports/{id}/iocs?change"], words(["new", "changed", "seen_again"])),
        (&["WarninglistOut.type"], words(Matching::ALL)),
        (
            &[
                "WarninglistOut.mode",
                "WarninglistIn.mode",
                "OnListOut.mode",
                "/api/v1/warninglists?mode",
            ],
            words(ListMode::ALL),
        ),
        (&["Change.action"], words(Action::ALL)),
        (
            &["Change.what"],
            words([
                "account",
                "guards",
                "person",
                "source",
                "subscription",
                "device",
                "group",
                "rule",
            ]),
        ),
        (&["PersonPart.role"], words([Role::Admin, Role::Analyst])),
        (&["ServiceTokenIn.scope", "ServiceTokenOut.scope"], words(Scope::ALL)),
        (&["ListGivenOut.outcome"], words(["added", "updated", "unchanged", "refused"])),
        (&["WarninglistOut.kinds", "CheckOut.kind"], kinds()),
        (&["SubscriptionOut.protocol", "SubscriptionIn.protocol"], words(Protocol::ALL)),
        (
            &["SubscriptionOut.tlp_most", "SubscriptionIn.tlp_most", "CriteriaWire.tlp_most"],
            words(Tlp::ALL),
        ),
        (&["SubscriptionOut.coverage", "SubscriptionIn.coverage"], words(Coverage::ALL)),
        (&["SubscriptionOut.access", "SubscriptionIn.access"], words(Access::ALL)),
        (&["SubscriptionOut.freshness"], words(Freshness::ALL)),
        (&["ThreatNameOut.what"], words(NameKind::ALL)),
        (&["FetchOut.outcome"], words(FetchOutcome::ALL)),
        (&["PlaceOut.standing"], words(["live", "leaving", "removed"])),
        (
            &[
                "IocOut.kind",
                "ReviewRowOut.kind",
                "GroupIocOut.kind",
                "RefusedOut.kind",
                "CriteriaWire.kinds",
                "SubscriptionOut.kinds",
                "SubscriptionIn.kinds",
                "/api/v1/iocs?kind",
            ],
            kinds(),
        ),
        (
            &[
                "IocOut.severity",
                "ReviewRowOut.severity",
                "GroupIocOut.severity",
                "IocPatchIn.severity",
                "ImportIocIn.severity",
                "CriteriaWire.severities",
                "AlertsWire.severities",
                "/api/v1/iocs?severity",
            ],
            words(Severity::ALL),
        ),
        (&["IocOut.state", "/api/v1/iocs?state"], words(State::ALL)),
        (
            &["IocOut.whitelist", "IocPatchIn.whitelist", "/api/v1/iocs?whitelist"],
            words(Whitelist::ALL),
        ),
        (
            &["CriteriaWire.state"],
            words([StateFilter::Active, StateFilter::Retired, StateFilter::Any]),
        ),
        (&["AlertsWire.types"], words(AlertKind::ALL)),
        (
            &["RefusedOut.reason", "ReasonOut.reason"],
            words(Refusal::ALL.iter().map(|refusal| refusal.word())),
        ),
        (
            &["MeOut.role", "UserOut.role", "UserIn.role", "UserPatchIn.role"],
            words([Role::Admin, Role::Analyst]),
        ),
        (&["KeyIn.kind"], words([KeyKind::Api, KeyKind::Appliance])),
        (&["KeyOut.kind"], words([KeyKind::Api, KeyKind::Appliance, KeyKind::Device])),
        (&["SyncOut.status"], words([Dot::Red, Dot::Green])),
        (&["SyncOut.reason"], words([Reason::NeverPulled, Reason::Synced, Reason::Silent])),
        (
            &["DeviceIn.device_type", "DeviceOut.device_type"],
            words(CATALOGUE.iter().map(|of| of.id)),
        ),
        (&["DeviceTypeOut.method"], words(CATALOGUE.iter().map(|of| of.method))),
        (&["DeviceTypeOut.location"], words(CATALOGUE.iter().map(|of| of.location))),
        (&["DeviceTypeOut.format"], words(CATALOGUE.iter().map(|of| of.format))),
        (&["DeviceTypeOut.delivery"], words(CATALOGUE.iter().map(|of| of.delivery))),
        (&["OutageMessageOut.kind"], words([MessageKind::Warning, MessageKind::Recovery])),
        (&["OutageOut.ended_by"], words([EndedBy::Pull, EndedBy::Pause, EndedBy::Threshold])),
        (
            &["MessageOut.kind"],
            words([
                MessageKind::Warning,
                MessageKind::Recovery,
                MessageKind::Limit,
                MessageKind::Held,
                MessageKind::NotTaken,
                MessageKind::SourceFailing,
                MessageKind::SourceRecovered,
                MessageKind::Test,
                MessageKind::Invitation,
                MessageKind::PasswordReset,
            ]),
        ),
        (
            &["OutageMessageOut.state", "MessageOut.state", "/api/v1/outbox?state"],
            words(MessageState::ALL),
        ),
        (&["ReadyOut.status"], words(["ready", "degraded", "not_ready"])),
        (&["ReadyOut.role"], words(["web", "worker", "all"])),
        (&["ReadyOut.feeds"], words(["fresh", "memory", "unavailable"])),
        (&["TaskOut.status"], words(["alive", "stuck"])),
        // The public API writes some words in its own way.
        (&["AlertDetailsIn.Type"], words(AlertKind::ALL)),
        (
            &[
                "AlertDetailsIn.Severity",
                "AlertSeverityIn.Severity",
                "SeverityIn.severity",
                "ThreatCommandIoc.severity",
            ],
            words(["High", "Medium", "Low"]),
        ),
        (&["AlertSourceIn.NetworkType"], words(["ClearWeb", "DarkWeb"])),
        (&["BlockIn.BlocklistStatus", "BlockedOut.Status"], words(["Sent", "NotSent"])),
        (
            &["IocIn.Type", "ThreatCommandIoc.type"],
            words(["IpAddresses", "Urls", "Domains", "Hashes", "Emails"]),
        ),
        (&["ThreatCommandIoc.status"], words(["Active", "Retired"])),
        (&["ThreatCommandUser.Role"], words(["Admin", "Analyst"])),
    ]
}

/// Where the document describes a field or parameter.
fn described<'a>(document: &'a mut OpenApi, field: &str) -> Option<&'a mut Schema> {
    let schema = if let Some((path, name)) = field.split_once('?') {
        let item = document.paths.paths.get_mut(path)?;
        let calls = [item.get.as_mut(), item.post.as_mut()].into_iter().flatten();
        let parameters = calls.filter_map(|call| call.parameters.as_mut()).flatten();
        let mut named = parameters.filter_map(|parameter| match parameter {
            RefOr::T(parameter) if parameter.name == name => Some(parameter),
            _ => None,
        });
        named.next()?.schema.as_mut()?
    } else {
        let (schema, name) = field.split_once('.')?;
        match document.components.as_mut()?.schemas.get_mut(schema)? {
            RefOr::T(Schema::Object(object)) => object.properties.get_mut(name)?,
            _ => return None,
        }
    };
    match schema {
        RefOr::T(schema) => Some(schema),
        RefOr::Ref(_) => None,
    }
}

/// Gives a field its words; false where it takes none.
fn give(schema: &mut Schema, mut words: Vec<Value>) -> bool {
    match schema {
        Schema::Object(object) => {
            if matches!(&object.schema_type, SchemaType::Array(types) if types.contains(&Type::Null))
            {
                words.push(Value::Null);
            }
            // A field that may be left out has its type's default in the document, which may be no word.
            object.default = object.default.take().filter(|default| words.contains(default));
            object.enum_values = Some(words);
            true
        }
        Schema::Array(array) => match &mut array.items {
            ArrayItems::RefOrSchema(items) => match &mut **items {
                RefOr::T(items) => give(items, words),
                RefOr::Ref(_) => false,
            },
            ArrayItems::False => false,
        },
        _ => false,
    }
}

/// Writes the words into the document. Gives the fields that it does not have.
pub(crate) fn add(document: &mut OpenApi) -> Vec<&'static str> {
    let mut missing = Vec::new();
    for (names, words) in fields() {
        for name in names {
            if !described(document, name).is_some_and(|schema| give(schema, words.clone())) {
                missing.push(*name);
            }
        }
    }
    missing
}
