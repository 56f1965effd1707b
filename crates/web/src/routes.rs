//! Every URL of iocast.

use actix_web::{guard, web};
use utoipa_actix_web::{scope::scope, service_config::ServiceConfig};

use crate::{api, docs, feed, metrics, pages};

/// The management API, as described at `/api/openapi.json`.
pub(crate) fn api(config: &mut ServiceConfig<'_>) {
    config.service(
        scope("/api/v1")
            .service(api::sessions::create)
            .service(api::sessions::delete)
            .service(api::sessions::me)
            .service(api::device_types::list)
            .service(api::devices::create)
            .service(api::devices::list)
            .service(api::devices::fetch)
            .service(api::devices::update)
            .service(api::devices::delete)
            .service(api::devices::pulls)
            .service(api::keys::create_for_device)
            .service(api::keys::list_of_device)
            .service(api::keys::delete_of_device)
            .service(api::keys::create)
            .service(api::keys::list)
            .service(api::keys::rotate)
            .service(api::keys::delete)
            .service(api::groups::create)
            .service(api::groups::list)
            .service(api::groups::fetch)
            .service(api::groups::update)
            .service(api::groups::delete)
            .service(api::groups::iocs)
            .service(api::groups::send_again)
            .service(api::rules::create)
            .service(api::rules::list)
            .service(api::rules::fetch)
            .service(api::rules::update)
            .service(api::rules::delete)
            .service(api::sources::create)
            .service(api::sources::list)
            .service(api::sources::fetch)
            .service(api::sources::update)
            .service(api::sources::delete)
            .service(api::imports::create)
            .service(api::iocs::list)
            .service(api::iocs::fetch)
            .service(api::iocs::update)
            .service(api::iocs::delete)
            .service(api::outages::list)
            .service(api::outbox::list)
            .service(api::outbox::retry)
            .service(api::outbox::discard)
            .service(api::outbox::test)
            .service(api::account::fetch)
            .service(api::account::update)
            .service(api::account::users)
            .service(api::account::invite)
            .service(api::account::user_update)
            .service(api::account::password_reset)
            .service(api::account::password)
            .service(api::audit::list)
            .service(api::health::health)
            .service(api::health::ready)
            .service(api::emulator::clock)
            .service(api::emulator::advance),
    );
}

/// Feeds, documentation and pages.
pub(crate) fn other(config: &mut web::ServiceConfig) {
    let get_or_head = || web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
    config
        .route("/feeds/{group}", get_or_head().to(feed::pull))
        .route("/feeds/{group}/{path:.*}", get_or_head().to(feed::pull))
        .route("/metrics", web::get().to(metrics::guarded))
        .route("/automation/integrations/{id}", web::get().to(pages::device))
        .route("/password", web::get().to(pages::password))
        .route("/api/openapi.json", web::get().to(docs::openapi_json))
        .route("/api/docs", web::get().to(docs::ui))
        .route("/api/docs/{file:.*}", web::get().to(docs::ui))
        .route("/", web::get().to(pages::start))
        .route("/assets/{file}", web::get().to(pages::asset))
        .default_service(web::to(pages::nothing_here));
}
