//! HTTP in, HTTP out. It calls [`iocast_app`] and never touches the store.
//!
//! Begin with [`routes`]: it lists every URL.

use std::{io, net::TcpListener, path::Path, sync::Arc, time::Duration};

use actix_web::{App, HttpServer, dev::Server, middleware::from_fn, web};
use utoipa_actix_web::AppExt as _;

mod api;
pub mod configuration;
mod connections;
mod csv;
mod docs;
mod emulator;
mod enums;
mod examples;
mod extract;
mod feed;
mod metrics;
mod pages;
mod problem;
mod public;
mod routes;
mod scopes;
mod taxii;
mod templates;
mod trace;

use self::connections::Connections;

pub use self::{
    api::{sources::limits_of, subscriptions::subscription_of},
    metrics::RequestDurations,
};

/// The headers that every answer carries unless it says otherwise.
pub use trace::SECURITY_HEADERS;

/// Serves `app` on `listener`, over HTTPS where there is a certificate, until the server is
/// stopped; requests under way get `drain` to end.
///
/// # Errors
/// If the listener can't be used.
pub fn serve(
    app: Arc<iocast_app::App>,
    requests: RequestDurations,
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    workers: usize,
    drain: Duration,
) -> io::Result<Server> {
    let connections = Connections::new(workers, app.context.settings.trusted_proxies.clone());
    let of_thread = connections.of_thread(workers);
    let emulator = Arc::new(emulator::Emulator::default());
    if app.context.settings.emulator {
        tokio::spawn(emulator::tick(Arc::clone(&app), Arc::clone(&emulator)));
    }
    let app = web::Data::from(app);
    let requests = web::Data::new(requests);
    let emulator = web::Data::from(emulator);
    let document = docs::document_at(&app.context.settings.public_url);
    let threat_command = web::Data::new(docs::threat_command::document(&document));
    let document = web::Data::new(document);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(app.clone())
            .app_data(document.clone())
            .app_data(threat_command.clone())
            .app_data(requests.clone())
            .app_data(emulator.clone())
            .wrap(from_fn(trace::around))
            .wrap(from_fn(trace::head_as_get))
            .wrap(from_fn(feed::feed_fast_path))
            .wrap(from_fn(emulator::around))
            .wrap(from_fn(public::without_slash))
            .into_utoipa_app()
            .configure(routes::api)
            .configure(routes::public)
            .into_app()
            .configure(routes::other)
    })
    .on_connect(move |connection, data| connections::keep(&connections, connection, data))
    .workers(workers)
    .max_connections(of_thread)
    .keep_alive(Duration::from_secs(75))
    .client_request_timeout(Duration::from_secs(10))
    .shutdown_timeout(drain.as_secs())
    .disable_signals();
    let server = match tls {
        Some(config) => server.listen_rustls_0_23(listener, config)?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}

/// Serves signs of life alone, for a process that only works: `/api/v1/health`, `/api/v1/ready` and
/// `/metrics`.
///
/// # Errors
/// If the listener can't be used.
pub fn serve_health(app: Arc<iocast_app::App>, listener: TcpListener) -> io::Result<Server> {
    let app = web::Data::from(app);
    let requests = web::Data::new(RequestDurations::default());
    let server = HttpServer::new(move || {
        App::new().app_data(app.clone()).app_data(requests.clone()).configure(routes::health_routes)
    });
    Ok(server.workers(1).disable_signals().listen(listener)?.run())
}

/// Serves the metrics alone, without a token, on a listener of their own.
///
/// # Errors
/// If the listener can't be used.
pub fn serve_metrics(
    app: Arc<iocast_app::App>,
    requests: RequestDurations,
    listener: TcpListener,
) -> io::Result<Server> {
    let app = web::Data::from(app);
    let requests = web::Data::new(requests);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(app.clone())
            .app_data(requests.clone())
            .route("/metrics", web::get().to(metrics::open))
    });
    Ok(server.workers(1).disable_signals().listen(listener)?.run())
}

/// Takes pages and what they load from `folder` where it has them; the others stay ours.
///
/// # Errors
/// If a file can't be read, or is no template.
pub fn override_templates(folder: &Path) -> io::Result<()> {
    templates::override_from(folder)
}

/// The OpenAPI document of the Threat Command part alone.
#[must_use]
pub fn threat_command_openapi() -> serde_json::Value {
    docs::threat_command::document(&docs::document()).0
}

/// The OpenAPI document, made from the code.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    docs::document()
}
