//! Figures for a monitoring system, in Prometheus' text form (version 0.0.4).

use std::fmt::Write as _;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use iocast_app::{App, Memory, Metrics, TaskAge};
use iocast_domain::{letter::LetterState, time::SECOND};

use crate::problem::Problem;

/// With the token of the setting `metrics_token`; without such a setting they are not there.
pub(crate) async fn guarded(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    app.may_see_metrics(given.unwrap_or_default())?;
    Ok(open(app).await)
}

/// On a listener of their own.
pub(crate) async fn open(app: web::Data<App>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(text(&app.metrics().await))
}

#[expect(clippy::too_many_lines, reason = "a table of metrics")]
fn text(metrics: &Metrics) -> String {
    let Metrics {
        readiness,
        outages_open,
        letters,
        oldest_due,
        delivered,
        pulls,
        pulls_dropped,
        published,
        kept,
        known,
        writers_waiting,
        pools,
    } = metrics;
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP iocast_{name} {help}\n# TYPE iocast_{name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(out, "iocast_{name}{labels} {value}");
        }
    };
    let one = |value: f64| [(String::new(), value)];
    let seconds = |micros: i64| one(micros as f64 / SECOND as f64);
    let flag = |yes: bool| one(f64::from(u8::from(yes)));
    family("ready", "gauge", "1 while devices are served.", &flag(readiness.serves()));
    family(
        "working",
        "gauge",
        "1 while the database takes writes and no task is stuck.",
        &flag(readiness.works()),
    );
    family(
        "database_up",
        "gauge",
        "1 while the database answers; figures that come from it are the last ones it gave.",
        &flag(readiness.database),
    );
    family(
        "feeds_from_memory",
        "gauge",
        "1 while devices are served from memory because the database is away.",
        &flag(readiness.memory != Memory::Fresh),
    );
    family(
        "feeds_age_seconds",
        "gauge",
        "Seconds since the in-memory feed table was last synchronised with the database.",
        &seconds(readiness.memory_age),
    );
    family(
        "last_write_age_seconds",
        "gauge",
        "Since the database last took a write.",
        &seconds(readiness.write_age),
    );
    family(
        "groups_waiting",
        "gauge",
        "Groups that wait for the publisher.",
        &one(readiness.groups_waiting as f64),
    );
    family(
        "publisher_lag_seconds",
        "gauge",
        "How long the first of them has waited.",
        &seconds(readiness.publisher_lag),
    );
    family("outages_open", "gauge", "Devices that are silent.", &one(*outages_open as f64));
    let by_task = |of: fn(&TaskAge) -> f64| -> Vec<(String, f64)> {
        readiness.tasks.iter().map(|t| (format!("{{task=\"{}\"}}", t.name), of(t))).collect()
    };
    family(
        "task_age_seconds",
        "gauge",
        "Since a task last gave a sign of life.",
        &by_task(|task| task.age.as_secs_f64()),
    );
    family(
        "task_stuck",
        "gauge",
        "1 while a task has given no sign of life for longer than it may.",
        &by_task(|task| f64::from(u8::from(task.is_stuck))),
    );
    family(
        "task_failures_total",
        "counter",
        "How often a task ended by a fault and was started again.",
        &by_task(|task| task.failures as f64),
    );
    family(
        "oldest_due_letter_age_seconds",
        "gauge",
        "Age of the oldest pending message.",
        &seconds(*oldest_due),
    );
    // What is not there is told, too: an alarm can't see a figure that is missing.
    let count =
        |state: LetterState| letters.iter().find(|(s, _)| *s == state).map_or(0, |(_, n)| *n);
    let states: Vec<(String, f64)> = LetterState::ALL
        .iter()
        .map(|state| (format!("{{state=\"{}\"}}", state.word()), count(*state) as f64))
        .collect();
    family("letters", "gauge", "Letters in the outbox, by state.", &states);
    let results = [
        ("sent", delivered.sent),
        ("failed", delivered.failed),
        ("dead", delivered.dead),
        ("superseded", delivered.superseded),
    ];
    let results: Vec<(String, f64)> = results
        .into_iter()
        .map(|(result, n)| (format!("{{result=\"{result}\"}}"), n as f64))
        .collect();
    let labelled = |label: &str, samples: Vec<(String, u64)>| -> Vec<(String, f64)> {
        samples.into_iter().map(|(of, n)| (format!("{{{label}=\"{of}\"}}"), n as f64)).collect()
    };
    let pulls =
        labelled("status", pulls.iter().map(|(status, n)| (status.to_string(), *n)).collect());
    family("pulls_total", "counter", "Answers to devices since the start, by status.", &pulls);
    family(
        "pulls_dropped_total",
        "counter",
        "Pulls that were answered and not noted, because the database was away for long.",
        &one(*pulls_dropped as f64),
    );
    family(
        "publications_total",
        "counter",
        "Publications made since the start.",
        &one(published.made as f64),
    );
    family(
        "publication_seconds_total",
        "counter",
        "What they took together.",
        &seconds(published.took),
    );
    let bytes =
        labelled("of", kept.iter().map(|(of, bytes, _)| ((*of).to_owned(), *bytes)).collect());
    family("cache_bytes", "gauge", "Bytes kept ready in memory.", &bytes);
    let entries =
        labelled("of", kept.iter().map(|(of, _, entries)| ((*of).to_owned(), *entries)).collect());
    family("cache_entries", "gauge", "What is kept ready in memory.", &entries);
    let tables = labelled("of", vec![("groups".to_owned(), known.0), ("keys".to_owned(), known.1)]);
    family("table_entries", "gauge", "Groups and keys that devices are served by.", &tables);
    family(
        "writers_waiting",
        "gauge",
        "How many wait to begin a write.",
        &one(*writers_waiting as f64),
    );
    let connections = |of: fn(&iocast_app::Pool) -> u64| {
        labelled("pool", pools.iter().map(|pool| (pool.name.to_owned(), of(pool))).collect())
    };
    family(
        "database_connections",
        "gauge",
        "Connections to the database that are open.",
        &connections(|pool| pool.open),
    );
    family(
        "database_connections_idle",
        "gauge",
        "Those that nobody uses.",
        &connections(|pool| pool.idle),
    );
    family(
        "letter_tries_total",
        "counter",
        "Tries to hand letters over since the start, by result.",
        &results,
    );
    out
}
