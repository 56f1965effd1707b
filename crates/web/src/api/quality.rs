//! How good sources are.

use actix_web::{HttpResponse, get, post, web};
use iocast_app::{App, CountedSource, Handled, RatedSource, SourceQuality};
use iocast_domain::{id::SourceId, quality::SourceCounts, time::Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Answer, List, whole};
use crate::{
    extract::{Id, Session},
    problem::Problem,
};

/// Counts about the IOCs that a source reports.
#[derive(Serialize, ToSchema)]
pub(crate) struct CountsOut {
    /// IOCs that it reports, active or retired.
    pub(crate) iocs: u64,
    /// Those that no other source reports.
    only_here: u64,
    /// Those that others report as well, where iocast knows when each report came first.
    timed: u64,
    /// Of those, the ones that it reported before all others.
    first_here: u64,
    /// Those that a person said are never sent: false positives.
    never_sent: u64,
    /// Those that some group keeps back: guards, device types, what another entry covers.
    kept_back: u64,
    /// Those that are in a group, and so on their way to a device.
    in_groups: u64,
    /// Of those, the ones that a device is known to have fetched after they joined its group.
    fetched: u64,
}

impl From<SourceCounts> for CountsOut {
    fn from(counts: SourceCounts) -> Self {
        let SourceCounts { iocs, only, timed, first, never_sent, kept_back, in_groups, fetched } =
            counts;
        Self {
            iocs,
            only_here: only,
            timed,
            first_here: first,
            never_sent,
            kept_back,
            in_groups,
            fetched,
        }
    }
}

/// A source, and how good it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct RatedSourceOut {
    /// The source.
    pub(crate) source_id: String,
    /// Its name.
    pub(crate) name: String,
    /// Whether its reports count.
    enabled: bool,
    /// What was counted last; zeros if it is newer than that.
    pub(crate) counts: CountsOut,
    /// What its imports met in the last 30 days, as counted.
    handled: u64,
    /// Of that, what was refused.
    refused: u64,
}

impl From<RatedSource> for RatedSourceOut {
    fn from(of: RatedSource) -> Self {
        let RatedSource { source_id, name, enabled, counts, handled } = of;
        let Handled { handled, refused } = handled;
        Self {
            source_id: source_id.to_string(),
            name,
            enabled,
            counts: counts.into(),
            handled,
            refused,
        }
    }
}

/// How many IOCs two sources share.
#[derive(Serialize, ToSchema)]
pub(crate) struct OverlapOut {
    /// One source.
    pub(crate) source_a: String,
    /// The other.
    pub(crate) source_b: String,
    /// IOCs that both report.
    pub(crate) iocs: u64,
}

/// The sources of the account, compared.
#[derive(Serialize, ToSchema)]
pub(crate) struct QualityOut {
    /// When they were counted; null if they never were.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) counted_at: Option<Timestamp>,
    /// The sources, by name.
    pub(crate) sources: Vec<RatedSourceOut>,
    /// What pairs of them share; pairs that share nothing are left out, and so is what lies behind
    /// the 100 sources that report most.
    pub(crate) overlaps: Vec<OverlapOut>,
}

impl From<SourceQuality> for QualityOut {
    fn from(quality: SourceQuality) -> Self {
        let SourceQuality { counted_at, sources, overlaps } = quality;
        let pair = |(a, b, iocs): (SourceId, SourceId, u64)| OverlapOut {
            source_a: a.to_string(),
            source_b: b.to_string(),
            iocs,
        };
        Self {
            counted_at,
            sources: sources.into_iter().map(RatedSourceOut::from).collect(),
            overlaps: overlaps.into_iter().map(pair).collect(),
        }
    }
}

/// A source on one day.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceDayOut {
    /// When it was counted.
    #[schema(value_type = String, format = DateTime)]
    counted_at: Timestamp,
    /// What was counted.
    counts: CountsOut,
    /// What its imports met since the count before.
    handled: u64,
    /// Of that, what was refused.
    refused: u64,
}

impl From<CountedSource> for SourceDayOut {
    fn from(of: CountedSource) -> Self {
        let CountedSource { source_id: _, day, handled } = of;
        let Handled { handled, refused } = handled;
        Self { counted_at: day.counted_at, counts: day.counts.into(), handled, refused }
    }
}

/// How good the sources are, as they were counted last: once a day, after midnight UTC.
#[utoipa::path(tag = "sources", responses((status = 200, body = QualityOut)))]
#[get("/sources/quality")]
pub(crate) async fn fetch(app: web::Data<App>, session: Session) -> Answer {
    let found = app.intake.source_quality(&session.0).await?;
    Ok(HttpResponse::Ok().json(QualityOut::from(found)))
}

/// Count the sources now. Over a million IOCs that takes some seconds.
#[utoipa::path(tag = "sources", responses((status = 200, body = QualityOut), (status = 409, body = Problem)))]
#[post("/sources/quality/count")]
pub(crate) async fn count(app: web::Data<App>, session: Session) -> Answer {
    let found = app.intake.sources_count_now(&session.0).await?;
    Ok(HttpResponse::Ok().json(QualityOut::from(found)))
}

/// How good a source was on each day, latest first; days are kept for 400 days.
#[utoipa::path(tag = "sources", params(("id" = Uuid, Path)), responses((status = 200, body = List<SourceDayOut>), (status = 404, body = Problem)))]
#[get("/sources/{id}/quality")]
pub(crate) async fn days(app: web::Data<App>, session: Session, id: Id) -> Answer {
    let found = app.intake.source_days(&session.0, SourceId(id.0)).await?;
    Ok(whole(found.into_iter().map(SourceDayOut::from).collect()))
}
