//! Who fetched what: whether devices have what their groups hold, the clients behind a device, and
//! where an IOC is.

use actix_web::{HttpResponse, get, web};
use iocast_app::{App, ClientView, IocLeftOut, IocPlace, IocPlaces, RuleNotMet, Withdrawn};
use iocast_domain::{
    id::{DeviceId, IocId},
    member::MembershipState,
    rule::NotMet,
    time::Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Answer, whole};
use crate::{
    extract::{Id, Session},
    problem::Problem,
};

/// A receiver behind a device.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClientOut {
    /// Id; it stays the same for as long as the client calls itself the same.
    id: String,
    /// What it is called: its MISP-uuid, or its user agent.
    name: String,
    /// `MISP-uuid`.
    misp_uuid: Option<String>,
    /// `MISP-version`.
    misp_version: Option<String>,
    /// `User-Agent`.
    user_agent: String,
    /// When it was first seen.
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    /// When it was last seen, to ten minutes.
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
    /// Whether the device's protection depends on it: it was seen lately, and no other client with
    /// its key and user agent took its place.
    counts: bool,
    /// What it has of each group.
    groups: Vec<ReceiptOut>,
}

/// What a client has of a group.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReceiptOut {
    /// The group.
    group_id: String,
    /// The publication whose entry document (list, manifest, last page) it was given whole.
    publication: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    fetched_at: Timestamp,
    /// The publication whose ETag it showed, which proves that it has it.
    confirmed: Option<i64>,
    /// When it last did.
    #[schema(value_type = Option<String>, format = DateTime)]
    confirmed_at: Option<Timestamp>,
    /// MISP events that it has in their present version.
    events: u64,
    /// MISP events that it fetched at three pulls or more in the same version.
    refused: u64,
    /// MISP events that it was offered again three times, or for a day, and did not fetch.
    not_taken: u64,
}

/// What a client is called.
pub(crate) fn client_name(misp_uuid: Option<&str>, user_agent: &str) -> String {
    match misp_uuid {
        Some(uuid) => format!("MISP {}", uuid.chars().take(8).collect::<String>()),
        None if user_agent.is_empty() => "a client without a name".to_owned(),
        None => user_agent.to_owned(),
    }
}

impl From<ClientView> for ClientOut {
    fn from(view: ClientView) -> Self {
        let ClientView { client, counts, groups } = view;
        let receipt =
            |(receipt, has): (iocast_app::Receipt, iocast_domain::receipt::ClientHas)| ReceiptOut {
                group_id: receipt.group_id.to_string(),
                publication: receipt.publication,
                fetched_at: receipt.fetched_at,
                confirmed: receipt.confirmed.map(|(publication, _)| publication),
                confirmed_at: receipt.confirmed.map(|(_, at)| at),
                events: has.events,
                refused: has.refused,
                not_taken: has.not_taken,
            };
        Self {
            id: client.id.to_string(),
            name: client_name(client.misp_uuid.as_deref(), &client.user_agent),
            misp_uuid: client.misp_uuid,
            misp_version: client.misp_version,
            user_agent: client.user_agent,
            first_at: client.first_at,
            last_at: client.last_at,
            counts,
            groups: groups.into_iter().map(receipt).collect(),
        }
    }
}

/// The clients behind a device, the last seen first: at most 16, each with what it fetched.
#[utoipa::path(tag = "devices", params(("id" = Uuid, Path)), responses((status = 200, body = super::List<ClientOut>), (status = 404, body = Problem)))]
#[get("/devices/{id}/clients")]
pub(crate) async fn of_device(app: web::Data<App>, session: Session, id: Id) -> Answer {
    let clients = app.accounts.device_clients(&session.0, DeviceId(id.0)).await?;
    Ok(whole(clients.into_iter().map(ClientOut::from).collect()))
}

/// A group that holds an IOC, or held it.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlaceOut {
    /// The device.
    device_id: String,
    /// Its name.
    device: String,
    /// The group.
    group_id: String,
    /// Its name.
    group: String,
    /// `live`, `leaving` or `removed`.
    standing: &'static str,
    /// UUID of the MISP event it is in.
    event: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When it left, if it did.
    #[schema(value_type = Option<String>, format = DateTime)]
    left_at: Option<Timestamp>,
    /// The rules that choose it for this group now.
    rules: Vec<String>,
    /// The clients that count, and whether they fetched this state.
    clients: Vec<PlaceClientOut>,
    /// Whether all of them did.
    fetched: bool,
}

/// A client, and when it fetched the state of an IOC.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlaceClientOut {
    /// What it is called.
    name: String,
    /// When it was last given what says so; null where it was not.
    #[schema(value_type = Option<String>, format = DateTime)]
    fetched_at: Option<Timestamp>,
}

impl From<IocPlace> for PlaceOut {
    fn from(of: IocPlace) -> Self {
        let clients: Vec<PlaceClientOut> = of
            .fetched
            .into_iter()
            .map(|(client, fetched_at)| PlaceClientOut {
                name: client_name(client.misp_uuid.as_deref(), &client.user_agent),
                fetched_at,
            })
            .collect();
        Self {
            device_id: of.device_id.to_string(),
            device: of.device,
            group_id: of.group_id.to_string(),
            group: of.group,
            standing: match of.standing {
                MembershipState::Live => "live",
                MembershipState::Leaving => "leaving",
                MembershipState::Tombstone => "removed",
            },
            event: of.event.to_string(),
            since: of.since,
            left_at: of.left,
            rules: of.rules,
            fetched: !clients.is_empty() && clients.iter().all(|c| c.fetched_at.is_some()),
            clients,
        }
    }
}

/// A group whose rules choose an IOC that it does not hold.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeftOutOut {
    /// The device.
    device_id: String,
    /// Its name.
    device: String,
    /// The group.
    group_id: String,
    /// Its name.
    group: String,
    /// Stable word; `limit` where there was no room.
    reason: &'static str,
    /// The second half of "not there, because …".
    because: &'static str,
}

impl From<IocLeftOut> for LeftOutOut {
    fn from(of: IocLeftOut) -> Self {
        Self {
            device_id: of.device_id.to_string(),
            device: of.device,
            group_id: of.group_id.to_string(),
            group: of.group,
            reason: of.refusal.map_or("limit", iocast_domain::guard::Refusal::word),
            because: of.refusal.map_or(
                "the group is full, and others come first",
                iocast_domain::guard::Refusal::because,
            ),
        }
    }
}

/// How far devices are with an IOC that a person withdrew. The five counts add up.
#[derive(Serialize, ToSchema)]
pub(crate) struct WithdrawnOut {
    /// When the last group published that it is gone.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Devices whose groups held it.
    devices: u64,
    /// Of them, those that fetched that it is gone.
    fetched: u64,
    /// Those that pull, and have not fetched it yet.
    waiting: u64,
    /// Those that are silent.
    silent: u64,
    /// Those that never pulled.
    never_pulled: u64,
    /// A sentence.
    sentence: String,
    /// The first 100 that pulled at some time and have not fetched it.
    missing: Vec<MissingOut>,
    /// The first 100 that fetched it.
    confirmed: Vec<ConfirmedOut>,
}

/// A device that fetched that an IOC was withdrawn.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfirmedOut {
    /// The device.
    device_id: String,
    /// Its name.
    device: String,
    /// When the last of its clients did.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// A rule that does not choose an IOC.
#[derive(Serialize, ToSchema)]
pub(crate) struct NotMetOut {
    /// The rule.
    rule_id: String,
    /// Its name.
    rule: String,
    /// What it asks for and the IOC does not have: `kind`, `state`, `severity`, `first_seen`, `tags`,
    /// `tlp`, `alerts`, `age`, `reports` or `score`; `off` where the rule is off.
    reason: &'static str,
    /// The second half of "the rule does not choose it, because …".
    because: &'static str,
    /// How many groups it feeds to which no other rule sends the IOC.
    groups: u64,
}

impl From<RuleNotMet> for NotMetOut {
    fn from(of: RuleNotMet) -> Self {
        Self {
            rule_id: of.rule_id.to_string(),
            rule: of.rule,
            reason: of.not_met.map_or("off", NotMet::word),
            because: of.not_met.map_or("the rule is off", NotMet::because),
            groups: of.groups,
        }
    }
}

/// A device that has not fetched yet that an IOC was withdrawn.
#[derive(Serialize, ToSchema)]
pub(crate) struct MissingOut {
    /// The device.
    device_id: String,
    /// Its name.
    device: String,
    /// Whether it is silent.
    silent: bool,
}

impl From<Withdrawn> for WithdrawnOut {
    fn from(of: Withdrawn) -> Self {
        let Withdrawn { at, devices, fetched, never_pulled, silent, waiting, listed, confirmed } =
            of;
        let number = crate::templates::number;
        let parts = [
            (fetched, "fetched it"),
            (waiting, "have not fetched it yet"),
            (silent, "silent"),
            (never_pulled, "never pulled"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{} {what}", number(n)))
            .collect();
        let of_devices = if devices == 1 {
            "1 device".to_owned()
        } else {
            format!("{} devices", number(devices))
        };
        Self {
            sentence: format!("Withdrawn from {of_devices}: {}.", parts.join(", ")),
            at,
            devices,
            fetched,
            waiting,
            silent,
            never_pulled,
            confirmed: confirmed
                .into_iter()
                .map(|(id, device, at)| ConfirmedOut { device_id: id.to_string(), device, at })
                .collect(),
            missing: listed
                .into_iter()
                .map(|(id, device, silent)| MissingOut {
                    device_id: id.to_string(),
                    device,
                    silent,
                })
                .collect(),
        }
    }
}

/// Where an IOC is.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlacesOut {
    /// Groups that hold it or held it, the latest first.
    places: Vec<PlaceOut>,
    /// Groups whose rules choose it, and which do not hold it.
    left_out: Vec<LeftOutOut>,
    /// Rules that do not choose it, with groups that no other rule sends it to; the first 100.
    not_met: Vec<NotMetOut>,
    /// Of an IOC that a person set to "never sent" or deleted; else null.
    withdrawn: Option<WithdrawnOut>,
}

impl From<IocPlaces> for PlacesOut {
    fn from(of: IocPlaces) -> Self {
        let IocPlaces { places, left_out, not_met, withdrawn } = of;
        Self {
            places: places.into_iter().map(PlaceOut::from).collect(),
            left_out: left_out.into_iter().map(LeftOutOut::from).collect(),
            not_met: not_met.into_iter().map(NotMetOut::from).collect(),
            withdrawn: withdrawn.map(WithdrawnOut::from),
        }
    }
}

/// Where an IOC is: the groups that hold it and who fetched that, the groups that leave it out and
/// why, and how far devices are where it was withdrawn. For 90 days this also answers for an IOC
/// that was deleted.
#[utoipa::path(tag = "iocs", params(("id" = Uuid, Path)), responses((status = 200, body = PlacesOut), (status = 404, body = Problem)))]
#[get("/iocs/{id}/places")]
pub(crate) async fn of_ioc(app: web::Data<App>, session: Session, id: Id) -> Answer {
    let places = app.accounts.ioc_places(&session.0, IocId(id.0)).await?;
    Ok(HttpResponse::Ok().json(PlacesOut::from(places)))
}
