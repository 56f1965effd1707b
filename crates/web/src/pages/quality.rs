//! TIP → Sources → compared: what only one source reports, what they share, who is first.

use std::collections::HashMap;

use actix_web::http::StatusCode;
use iocast_app::{CountedSource, SourceQuality};
use iocast_domain::id::SourceId;
use minijinja::{Value, context};

use super::{
    view,
    visit::{Form, PageContext, PageResult, problem},
};
use crate::api::quality::QualityOut;

/// Sources in the matrix: those that report most.
const COMPARED: usize = 12;
/// Days in the chart.
const DAYS: usize = 90;

pub(crate) async fn show(visitor: PageContext) -> PageResult {
    page(&visitor, StatusCode::OK, Value::from(())).await
}

async fn page(visitor: &PageContext, status: StatusCode, problem: Value) -> PageResult {
    let found = visitor.app.intake.source_quality(&visitor.actor).await?;
    let matrix = matrix(&found);
    let quality = view::value(QualityOut::from(found));
    Ok(visitor.page(status, "pages/quality.html", context! { quality, matrix, problem }))
}

pub(crate) async fn act(form: Form) -> PageResult {
    let visitor = &form.visitor;
    match visitor.app.intake.sources_count_now(&visitor.actor).await {
        Ok(_) => visitor.done("/tip/sources/quality", "The sources are counted."),
        Err(error) => {
            let (status, problem) = problem(error)?;
            page(visitor, status, problem).await
        }
    }
}

/// The sources that report most, each with how much of it the others report as well, in whole
/// percent.
fn matrix(found: &SourceQuality) -> Value {
    let mut largest: Vec<_> = found.sources.iter().filter(|of| of.counts.iocs > 0).collect();
    largest.sort_by_key(|of| std::cmp::Reverse(of.counts.iocs));
    let left_out = largest.len().saturating_sub(COMPARED);
    largest.truncate(COMPARED);
    let shared: HashMap<(SourceId, SourceId), u64> =
        found.overlaps.iter().flat_map(|(a, b, n)| [((*a, *b), *n), ((*b, *a), *n)]).collect();
    let rows = largest.iter().map(|row| {
        let cells = largest.iter().map(|other| {
            if other.source_id == row.source_id {
                return Value::from(());
            }
            let iocs = shared.get(&(row.source_id, other.source_id)).copied().unwrap_or(0);
            context! { iocs, percent => percent(iocs, row.counts.iocs), of => other.name.clone() }
        });
        context! { name => row.name.clone(), cells => cells.collect::<Vec<_>>() }
    });
    context! { rows => rows.collect::<Vec<_>>(), left_out }
}

/// A part of a whole in percent, where only all of it is 100 and only nothing of it 0.
fn percent(part: u64, whole: u64) -> u64 {
    match part {
        0 => 0,
        part if part >= whole => 100,
        part => (part * 100 / whole).clamp(1, 99),
    }
}

/// The last days of a source as a chart: the oldest first.
pub(super) fn chart(days: &[CountedSource]) -> Value {
    let most = days.iter().take(DAYS).map(|of| of.day.counts.iocs).max().unwrap_or(0);
    let bars = days.iter().take(DAYS).rev().map(|of| {
        let counts = of.day.counts;
        let height = |n: u64| n * 100 / most.max(1);
        context! {
            day => of.day.counted_at.day(),
            iocs => counts.iocs, only_here => counts.only, in_groups => counts.in_groups, fetched => counts.fetched,
            height => height(counts.iocs), only_height => height(counts.only),
        }
    });
    context! { days => bars.collect::<Vec<_>>(), most }
}
