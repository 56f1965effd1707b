//! One question to everything.

use actix_web::{HttpResponse, get, web};
use iocast_app::{App, Hits};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Answer, iocs::IocOut};
use crate::{
    extract::{Query, Session},
    problem::Problem,
};

/// Hits of each kind.
const MOST: u64 = 25;
/// Longest text, in characters.
const TEXT_MAX: usize = 2_048;

/// What to look for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// A value in any spelling, also defanged, or a part of a name.
    q: String,
}

/// Something with a name.
#[derive(Serialize, ToSchema)]
pub(crate) struct NamedOut {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
}

/// A name that IOCs carry.
#[derive(Serialize, ToSchema)]
pub(crate) struct ThreatNameOut {
    /// Its id: `name_id` of `GET /api/v1/iocs`.
    id: String,
    /// `tag`, `threat_actor`, `campaign` or `malware_family`.
    what: &'static str,
    /// As it was written first.
    name: String,
}

/// What was found: at most 25 of each.
#[derive(Serialize, ToSchema)]
pub(crate) struct HitsOut {
    /// The value that was asked for, values that begin so, and what is under its domain.
    iocs: Vec<IocOut>,
    /// Names that IOCs carry and that contain the text.
    names: Vec<ThreatNameOut>,
    /// Devices by name.
    devices: Vec<NamedOut>,
    /// IOC groups by name.
    groups: Vec<NamedOut>,
    /// Rules by name.
    rules: Vec<NamedOut>,
    /// Sources by name.
    sources: Vec<NamedOut>,
    /// People by e-mail address; for administrators.
    people: Vec<String>,
}

fn named<I: std::fmt::Display>(all: Vec<(I, String)>) -> Vec<NamedOut> {
    all.into_iter().map(|(id, name)| NamedOut { id: id.to_string(), name }).collect()
}

impl From<Hits> for HitsOut {
    fn from(of: Hits) -> Self {
        let Hits { iocs, threats, named: found } = of;
        Self {
            iocs: iocs.into_iter().map(IocOut::from).collect(),
            names: threats
                .into_iter()
                .map(|of| ThreatNameOut {
                    id: of.id.to_string(),
                    what: of.what.word(),
                    name: of.name,
                })
                .collect(),
            devices: named(found.devices),
            groups: named(found.groups),
            rules: named(found.rules),
            sources: named(found.sources),
            people: found.people,
        }
    }
}

/// Search everything: values whole, by their beginning or their domain; names by any part.
#[utoipa::path(tag = "iocs", params(SearchQuery), responses((status = 200, body = HitsOut), (status = 401, body = Problem)))]
#[get("/search")]
pub(crate) async fn find(
    app: web::Data<App>,
    session: Session,
    query: Query<SearchQuery>,
) -> Answer {
    let text: String = query.0.q.chars().filter(|c| *c != '\0').take(TEXT_MAX).collect();
    Ok(HttpResponse::Ok().json(HitsOut::from(app.search(&session.0, &text, MOST).await?)))
}
