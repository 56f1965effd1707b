//! Figures for a monitoring system, in Prometheus' text form.

use std::{sync::atomic::AtomicU64, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use iocast_app::{App, Memory, Metrics, Pool, TaskAge};
use iocast_domain::{
    message::MessageState, receipt::Protection, subscription::Freshness, time::SECOND,
};
use prometheus_client::{
    encoding::prometheus_text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::problem::Problem;

/// Names and values of labels.
type Labels = Vec<(&'static str, String)>;
/// A value with its labels.
type Sample = (Labels, f64);

/// Routes, as the label names them, and how their paths begin; everything else is a page.
const ROUTES: [(&str, &str); 4] =
    [("feed", "/feeds/"), ("taxii", "/taxii"), ("rest", "/public/"), ("api", "/api/")];
/// The bounds of the histograms of requests, in seconds.
const SECONDS: [f64; 12] =
    [0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 60.0];

/// How long requests took since the start, by route.
#[derive(Clone, Debug)]
pub struct RequestDurations(
    Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>,
);

impl Default for RequestDurations {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(SECONDS)))
    }
}

impl RequestDurations {
    /// Notes a request to `path`.
    pub(crate) fn note(&self, path: &str, took: Duration) {
        let of = ROUTES.iter().find(|(_, begins)| path.starts_with(begins));
        let route = of.map_or("page", |(route, _)| *route);
        self.0.get_or_create(&[("route", route)]).observe(took.as_secs_f64());
    }
}

/// With the token of the setting `metrics_token`; without such a setting they are not there.
pub(crate) async fn guarded(
    request: HttpRequest,
    app: web::Data<App>,
    requests: web::Data<RequestDurations>,
) -> Result<HttpResponse, Problem> {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    app.ops.may_see_metrics(given.unwrap_or_default())?;
    Ok(open(app, requests).await)
}

/// On a listener of their own.
pub(crate) async fn open(
    app: web::Data<App>,
    requests: web::Data<RequestDurations>,
) -> HttpResponse {
    let text = text(&app.metrics().await, &requests);
    HttpResponse::Ok().content_type(prometheus_text::CONTENT_TYPE).body(text)
}

fn text(metrics: &Metrics, requests: &RequestDurations) -> String {
    let mut registry = Registry::default();
    process(&mut Figures(&mut registry));
    let mut figures = Figures(registry.sub_registry_with_prefix("iocast"));
    signs_of_life(&mut figures, metrics);
    messages(&mut figures, metrics);
    polls(&mut figures, metrics, requests);
    publishing(&mut figures, metrics);
    protection(&mut figures, metrics);
    subscriptions(&mut figures, metrics);
    backups(&mut figures, metrics);
    memory_and_database(&mut figures, metrics);
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = prometheus_text::encode(&mut out, &registry);
    out
}

/// Where figures are registered. A full stop is added to each help text.
struct Figures<'a>(&'a mut Registry);

impl Figures<'_> {
    fn gauges(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in samples {
            family.get_or_create(&labels).set(value);
        }
        self.0.register(name, help, family);
    }

    /// Counters; their names end in `_total`.
    fn counters(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
        let family = Family::<Labels, Counter<f64, AtomicU64>>::default();
        for (labels, value) in samples {
            family.get_or_create(&labels).inc_by(value);
        }
        self.0.register(name, help, family);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        self.0.register(name, help, gauge);
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        let counter = Counter::<f64, AtomicU64>::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    fn flag(&mut self, name: &str, help: &str, is_on: bool) {
        self.gauge(name, help, f64::from(u8::from(is_on)));
    }
}

fn label(name: &'static str, value: impl Into<String>) -> Labels {
    vec![(name, value.into())]
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / SECOND as f64
}

/// Under the names that Prometheus' own libraries use.
fn process(figures: &mut Figures<'_>) {
    let found = metrics_process::collector::collect();
    let gauges = [
        ("process_open_fds", "Open file descriptors", found.open_fds),
        ("process_max_fds", "Most file descriptors", found.max_fds),
        ("process_resident_memory_bytes", "Resident memory", found.resident_memory_bytes),
        ("process_virtual_memory_bytes", "Virtual memory", found.virtual_memory_bytes),
        (
            "process_start_time_seconds",
            "When the process started, in seconds since 1970 UTC",
            found.start_time_seconds,
        ),
        ("process_threads", "Threads", found.threads),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            figures.gauge(name, help, value as f64);
        }
    }
    if let Some(value) = found.cpu_seconds_total {
        figures.counter("process_cpu_seconds", "Processor time that was used", value);
    }
}

fn signs_of_life(figures: &mut Figures<'_>, metrics: &Metrics) {
    let readiness = &metrics.readiness;
    let version = label("version", env!("CARGO_PKG_VERSION"));
    figures.gauges("build_info", "1, with the version", [(version, 1.0)]);
    figures.flag("ready", "1 while devices are served", readiness.serves());
    figures.flag(
        "working",
        "1 while the database takes writes and no task is stuck",
        readiness.works(),
    );
    figures.flag(
        "database_up",
        "1 while the database answers; figures that come from it are the last ones it gave",
        readiness.database,
    );
    figures.flag(
        "feeds_from_memory",
        "1 while devices are served from memory because the database is away",
        readiness.memory != Memory::Fresh,
    );
    figures.gauge(
        "feeds_age_seconds",
        "Seconds since the in-memory feed table was last synchronised with the database",
        seconds(readiness.memory_age),
    );
    figures.gauge(
        "last_write_age_seconds",
        "Seconds since the database last took a write",
        seconds(readiness.write_age),
    );
    let by_task = |of: fn(&TaskAge) -> f64| {
        readiness.tasks.iter().map(move |task| (label("task", task.name), of(task)))
    };
    figures.gauges(
        "task_age_seconds",
        "Seconds since a task last gave a sign of life",
        by_task(|task| task.age.as_secs_f64()),
    );
    figures.gauges(
        "task_stuck",
        "1 while a task has given no sign of life for longer than it may",
        by_task(|task| f64::from(u8::from(task.is_stuck))),
    );
    figures.counters(
        "task_failures",
        "How often a task ended by a fault and was started again",
        by_task(|task| task.failures as f64),
    );
}

fn messages(figures: &mut Figures<'_>, metrics: &Metrics) {
    let outages = metrics.outages_open as f64;
    figures.gauge("outages_open", "Devices that are silent", outages);
    figures.gauge(
        "oldest_due_message_age_seconds",
        "Age of the oldest pending message",
        seconds(metrics.oldest_due),
    );
    // States without a message are written too: an alert can't see a figure that is missing.
    let count = |state: MessageState| {
        metrics.messages.iter().find(|(s, _)| *s == state).map_or(0, |(_, n)| *n)
    };
    figures.gauges(
        "messages",
        "Messages in the outbox, by state",
        MessageState::ALL.iter().map(|state| (label("state", state.word()), count(*state) as f64)),
    );
    let delivered = &metrics.delivered;
    let results = [
        ("sent", delivered.sent),
        ("failed", delivered.failed),
        ("dead", delivered.dead),
        ("superseded", delivered.superseded),
    ];
    figures.counters(
        "message_tries",
        "Tries to deliver messages since the start, by result",
        results.map(|(result, n)| (label("result", result), n as f64)),
    );
}

fn polls(figures: &mut Figures<'_>, metrics: &Metrics, requests: &RequestDurations) {
    let by_status =
        metrics.pulls.iter().map(|(status, n)| (label("status", status.to_string()), *n as f64));
    figures.counters("pulls", "Answers to devices since the start, by status", by_status);
    figures.counter(
        "pulls_dropped",
        "Pulls that were answered and not noted, because the database was away for long",
        metrics.pulls_dropped as f64,
    );
    figures.0.register(
        "request_duration_seconds",
        "From the head of a request to the head of its answer, by route",
        requests.0.clone(),
    );
}

fn publishing(figures: &mut Figures<'_>, metrics: &Metrics) {
    let readiness = &metrics.readiness;
    figures.gauge(
        "groups_waiting",
        "Groups that wait for the publisher",
        readiness.groups_waiting as f64,
    );
    figures.gauge(
        "publisher_lag_seconds",
        "How long the first of them has waited",
        seconds(readiness.publisher_lag),
    );
    figures.0.register(
        "publication_duration_seconds",
        "What publications took; of those that were made together, the share of each",
        metrics.publications.clone(),
    );
}

/// States without a group are written too: an alert can't see a figure that is missing.
fn protection(figures: &mut Figures<'_>, metrics: &Metrics) {
    let count = |state: &str| {
        metrics.protections.iter().find(|(of, _)| of == state).map_or(0, |(_, groups)| *groups)
    };
    figures.gauges(
        "groups",
        "IOC groups by the most urgent state of protection, at most a minute or two old",
        Protection::CODES.iter().map(|state| (label("protection", *state), count(state) as f64)),
    );
}

/// So are those without a subscription.
fn subscriptions(figures: &mut Figures<'_>, metrics: &Metrics) {
    let count = |state: Freshness| {
        metrics.subscriptions.iter().find(|(of, _)| *of == state).map_or(0, |(_, total)| *total)
    };
    figures.gauges(
        "subscriptions",
        "Subscriptions of sources, by how fresh they are",
        Freshness::ALL.iter().map(|of| (label("freshness", of.word()), count(*of) as f64)),
    );
}

/// Nothing where iocast makes no backups by itself.
fn backups(figures: &mut Figures<'_>, metrics: &Metrics) {
    let Some(last) = &metrics.backup else { return };
    let done_at = last.done_at.map_or(0.0, |at| at.secs() as f64);
    figures.gauge(
        "backup_last_success_timestamp_seconds",
        "When the last backup was complete, as seconds since 1970; 0 if none was",
        done_at,
    );
    figures.gauge("backup_bytes", "Bytes of the last backup", last.bytes as f64);
    let failing = u8::from(last.is_late(metrics.now));
    figures.gauge(
        "backup_failing",
        "1 if the last backup failed, or none was made for twice the time",
        f64::from(failing),
    );
}

fn memory_and_database(figures: &mut Figures<'_>, metrics: &Metrics) {
    figures.gauges(
        "cache_bytes",
        "Bytes kept ready in memory",
        metrics.kept.iter().map(|(of, bytes, _)| (label("of", *of), *bytes as f64)),
    );
    figures.gauges(
        "cache_entries",
        "What is kept ready in memory",
        metrics.kept.iter().map(|(of, _, entries)| (label("of", *of), *entries as f64)),
    );
    let (groups, keys) = metrics.known;
    figures.gauges(
        "table_entries",
        "Groups and keys that devices are served by",
        [("groups", groups), ("keys", keys)].map(|(of, n)| (label("of", of), n as f64)),
    );
    figures.gauge(
        "writers_waiting",
        "How many wait to begin a write",
        metrics.writers_waiting as f64,
    );
    let by_pool = |of: fn(&Pool) -> u64| {
        metrics.pools.iter().map(move |pool| (label("pool", pool.name), of(pool) as f64))
    };
    figures.gauges(
        "database_connections",
        "Connections to the database that are open",
        by_pool(|pool| pool.open),
    );
    figures.gauges(
        "database_connections_idle",
        "Connections to the database that nobody uses",
        by_pool(|pool| pool.idle),
    );
}
