//! Every URL of iocast.

use actix_web::{
    guard,
    middleware::{Compress, from_fn},
    web,
};
use utoipa_actix_web::{scope::scope, service_config::ServiceConfig};

use crate::{
    api, docs, feed, metrics,
    pages::{
        self, device, emulator, fetches, fleet, group, guards, help, imports, integrations, iocs,
        overview, policy, public_feeds, quality, search, settings, setup, sign_in, sources,
    },
    public, taxii,
};

/// The management API, as described at `/api/openapi.json`.
#[expect(clippy::too_many_lines, reason = "a table of routes")]
pub(crate) fn api(config: &mut ServiceConfig<'_>) {
    config.service(
        scope("/api/v1")
            .service(api::sessions::create)
            .service(api::sessions::delete)
            .service(api::sessions::me)
            .service(api::device_types::list)
            .service(api::fleet::add)
            .service(api::fleet::update)
            .service(api::devices::create)
            .service(api::devices::list)
            .service(api::devices::fetch)
            .service(api::devices::update)
            .service(api::devices::delete)
            .service(api::devices::pulls)
            .service(api::receipts::of_device)
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
            .service(api::snapshots::refused)
            .service(api::snapshots::compare)
            .service(api::snapshots::freeze)
            .service(api::snapshots::let_through)
            .service(api::guards::fetch)
            .service(api::guards::update)
            .service(api::guards::allow_change)
            .service(api::warninglists::all)
            .service(api::warninglists::add)
            .service(api::warninglists::check)
            .service(api::warninglists::file)
            .service(api::warninglists::update)
            .service(api::warninglists::delete)
            .service(api::rules::create)
            .service(api::rules::list)
            .service(api::rules::fetch)
            .service(api::rules::update)
            .service(api::rules::delete)
            .service(api::sources::create)
            .service(api::sources::list)
            .service(api::quality::fetch)
            .service(api::quality::count)
            .service(api::quality::days)
            .service(api::sources::fetch)
            .service(api::sources::update)
            .service(api::sources::delete)
            .service(api::imports::create)
            .service(api::imports::kept::list)
            .service(api::imports::kept::fetch)
            .service(api::imports::kept::discard)
            .service(api::imports::kept::refused)
            .service(api::imports::review::iocs)
            .service(api::imports::review::select)
            .service(api::imports::review::take)
            .service(api::imports::kept::undo_plan)
            .service(api::imports::kept::undo)
            .service(api::public_feeds::list)
            .service(api::public_feeds::follow)
            .service(api::subscriptions::fetch)
            .service(api::subscriptions::put)
            .service(api::subscriptions::end)
            .service(api::subscriptions::fetch_now)
            .service(api::subscriptions::try_it)
            .service(api::subscriptions::fetches)
            .service(api::search::find)
            .service(api::iocs::list)
            .service(api::iocs::fetch)
            .service(api::iocs::update)
            .service(api::iocs::delete)
            .service(api::receipts::of_ioc)
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
            .service(api::emulator::advance)
            .service(api::emulator::fixtures_load)
            .service(api::emulator::fixtures_reset)
            .service(api::faults::add)
            .service(api::faults::list)
            .service(api::faults::clear)
            .service(api::faults::end)
            .service(api::scenarios::list)
            .service(api::scenarios::start)
            .service(api::scenarios::runs)
            .service(api::scenarios::stop)
            .service(api::recordings::list)
            .service(api::recordings::fetch)
            .service(api::recordings::clear),
    );
}

/// The Threat Command REST API.
pub(crate) fn public(config: &mut ServiceConfig<'_>) {
    config.service(
        scope("/public")
            .service(public::account::test_credentials)
            .service(public::account::test_credentials_read)
            .service(public::account::version_asked)
            .service(public::account::version)
            .service(public::partners::elastic)
            .service(public::partners::splunk::system_modules)
            .service(public::partners::splunk::users)
            .service(public::partners::splunk::list)
            .service(public::partners::splunk::feeds)
            .service(public::partners::splunk::alert_list)
            .service(public::partners::splunk::alert)
            .service(public::partners::splunk::tags)
            .service(public::partners::splunk::comments)
            .service(public::partners::splunk::investigate)
            .service(public::partners::splunk::whitelist)
            .service(public::partners::splunk::whitelisted)
            .service(public::partners::splunk::iocs_read)
            .service(public::partners::splunk::alerts_read)
            .service(public::partners::splunk::cves_read)
            .service(public::partners::splunk::cves)
            .service(public::partners::used_credits)
            .service(public::partners::used_assets)
            .service(public::partners::takedown_status)
            .service(public::partners::types)
            .service(public::partners::source_types)
            .service(public::partners::values)
            .service(public::partners::cves)
            .service(public::account::system_modules)
            .service(public::account::users_details)
            .service(public::iocs::by_value_v3)
            .service(public::iocs::by_value_v2)
            .service(public::iocs::by_value_v1)
            .service(public::iocs::list_v1)
            .service(public::iocs::list_v3)
            .service(public::iocs::list_v2)
            .service(public::iocs::csv)
            .service(public::iocs::quota)
            .service(public::iocs::enrich)
            .service(public::iocs::rescan)
            .service(public::iocs::rescan_status)
            .service(public::sources::list)
            .service(public::sources::add)
            .service(public::sources::extend)
            .service(public::sources::remove)
            .service(public::bulk_edit::tags)
            .service(public::bulk_edit::severity)
            .service(public::bulk_edit::severity_posted)
            .service(public::bulk_edit::comments)
            .service(public::bulk_edit::whitelist)
            .service(public::bulk_edit::unwhitelist)
            .service(public::bulk_edit::blocklist)
            .service(public::bulk_edit::unblocklist)
            .service(public::alerts::list_v1)
            .service(public::alerts::list_v2)
            .service(public::alerts::updated)
            .service(public::alerts::fetch)
            .service(public::alerts::add)
            .service(public::alerts::close)
            .service(public::alerts::reopen)
            .service(public::alerts::set_severity)
            .service(public::alerts::assign)
            .service(public::alerts::unassign)
            .service(public::alerts::add_tag)
            .service(public::alerts::remove_tag)
            .service(public::alerts::blocked)
            .service(public::alerts::block)
            .default_service(web::to(public::not_here)),
    );
}

/// What a process answers that only works.
pub(crate) fn health_routes(config: &mut web::ServiceConfig) {
    let elsewhere = || async {
        actix_web::HttpResponse::NotFound()
            .body("This instance is a worker (`--role worker`) and does not serve this URL.\n")
    };
    config
        .service(web::scope("/api/v1").service(api::health::health).service(api::health::ready))
        .route("/metrics", web::get().to(metrics::guarded))
        .default_service(web::to(elsewhere));
}

/// Feeds, documentation and pages.
pub(crate) fn other(config: &mut web::ServiceConfig) {
    let get_or_head = || web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
    config
        .route("/feeds/{group}", get_or_head().to(feed::pull))
        .route("/feeds/{group}/{path:.*}", get_or_head().to(feed::pull))
        .route("/taxii2{path:(/.*)?}", web::to(taxii::v21))
        .route("/taxii{path:(/.*)?}", web::to(taxii::v20))
        .route("/metrics", web::get().to(metrics::guarded))
        .route("/api/openapi.json", web::get().to(docs::openapi_json))
        .route("/api/threat-command.json", web::get().to(docs::threat_command::json))
        .route("/api/threat-command.postman.json", web::get().to(docs::threat_command::postman))
        .route("/api/docs", web::get().to(docs::ui))
        .route("/api/docs/{file:.*}", web::get().to(docs::ui))
        .service(
            web::scope("")
                .wrap(Compress::default())
                .wrap(from_fn(pages::in_frame))
                .route("/assets/{file}", web::get().to(pages::asset))
                .configure(for_people)
                .default_service(web::to(pages::nothing_here)),
        )
        // What the scopes of the APIs do not know.
        .default_service(web::to(pages::nothing_here));
}

/// Pages. Each takes its own forms.
#[expect(clippy::too_many_lines, reason = "a table of routes")]
fn for_people(config: &mut web::ServiceConfig) {
    let page = web::resource;
    config
        .service(
            page("/").route(web::get().to(overview::show)).route(web::post().to(overview::act)),
        )
        .service(page("/search").route(web::get().to(search::show)))
        .service(page("/search/hits").route(web::get().to(search::hits)))
        .service(page("/automation").route(web::get().to(pages::first_of)))
        .service(page("/tip").route(web::get().to(pages::first_of)))
        .service(page("/settings").route(web::get().to(pages::first_of)))
        .service(page("/password").route(web::get().to(pages::password)))
        .service(
            page("/forgotten-password")
                .route(web::get().to(pages::forgotten))
                .route(web::post().to(sign_in::forgotten)),
        )
        .service(
            page("/sign-in")
                .route(web::get().to(sign_in::show))
                .route(web::post().to(sign_in::enter)),
        )
        .service(page("/sign-out").route(web::post().to(sign_in::leave)))
        .service(
            page("/automation/integrations")
                .route(web::get().to(integrations::list))
                .route(web::post().to(fleet::change)),
        )
        .service(
            page("/automation/integrations/table")
                .route(web::get().to(fleet::table))
                .route(web::post().to(fleet::add)),
        )
        .service(page("/automation/integrations.csv").route(web::get().to(fleet::export)))
        .service(page("/automation/integrations/states").route(web::get().to(integrations::states)))
        .service(
            page("/automation/integrations/new")
                .route(web::get().to(integrations::new))
                .route(web::post().to(integrations::add)),
        )
        .service(
            page("/automation/integrations/{id}")
                .route(web::get().to(device::show))
                .route(web::post().to(device::act)),
        )
        .service(
            page("/automation/integrations/{id}/setup")
                .route(web::get().to(setup::form))
                .route(web::post().to(setup::act)),
        )
        .service(
            page("/automation/groups/{id}")
                .route(web::get().to(group::show))
                .route(web::post().to(group::act)),
        )
        .service(page("/automation/groups/{id}/compare").route(web::get().to(group::compare)))
        .service(page("/automation/groups/{id}/files/{path:.*}").route(web::get().to(group::file)))
        .service(page("/automation/policy").route(web::get().to(policy::list)))
        .service(page("/automation/policy/count").route(web::post().to(policy::count)))
        .service(
            page("/automation/policy/new")
                .route(web::get().to(policy::new))
                .route(web::post().to(policy::add)),
        )
        .service(
            page("/automation/policy/{id}")
                .route(web::get().to(policy::show))
                .route(web::post().to(policy::act)),
        )
        .service(
            page("/tip/iocs").route(web::get().to(iocs::list)).route(web::post().to(iocs::change)),
        )
        .service(
            page("/tip/iocs/{id}")
                .route(web::get().to(iocs::show))
                .route(web::post().to(iocs::act)),
        )
        .service(
            page("/tip/sources")
                .route(web::get().to(sources::list))
                .route(web::post().to(sources::list_act)),
        )
        .service(
            page("/tip/sources/public")
                .route(web::get().to(public_feeds::show))
                .route(web::post().to(public_feeds::act)),
        )
        .service(
            page("/tip/sources/quality")
                .route(web::get().to(quality::show))
                .route(web::post().to(quality::act)),
        )
        .service(
            page("/tip/sources/{id}")
                .route(web::get().to(sources::show))
                .route(web::post().to(sources::act)),
        )
        .service(
            page("/tip/sources/{id}/subscription")
                .route(web::get().to(fetches::show))
                .route(web::post().to(fetches::act)),
        )
        .service(
            page("/tip/imports/{id}")
                .route(web::get().to(imports::show))
                .route(web::post().to(imports::act)),
        )
        .service(page("/tip/imports").route(web::get().to(imports::list)))
        .service(
            page("/settings/subscription")
                .route(web::get().to(settings::subscription))
                .route(web::post().to(settings::subscription_act)),
        )
        .service(
            page("/settings/users")
                .route(web::get().to(settings::users))
                .route(web::post().to(settings::users_act)),
        )
        .service(
            page("/settings/guards")
                .route(web::get().to(guards::show))
                .route(web::post().to(guards::act)),
        )
        .service(
            page("/settings/warninglists")
                .route(web::get().to(guards::lists))
                .route(web::post().to(guards::lists_act)),
        )
        .service(
            page("/settings/mail")
                .route(web::get().to(settings::mail))
                .route(web::post().to(settings::mail_act)),
        )
        .service(page("/settings/audit").route(web::get().to(settings::audit)))
        .service(page("/settings/audit.csv").route(web::get().to(settings::audit_csv)))
        .service(
            page("/settings/profile")
                .route(web::get().to(sign_in::profile))
                .route(web::post().to(sign_in::profile_act)),
        )
        .service(page("/help").route(web::get().to(help::list)))
        .service(page("/help/{page}").route(web::get().to(help::read)))
        .service(
            page("/emulator")
                .route(web::get().to(emulator::show))
                .route(web::post().to(emulator::act)),
        )
        .service(page("/emulator/recordings/{id}").route(web::get().to(emulator::recording)))
        .service(page("/emulator/clock").route(web::post().to(emulator::advance)));
}
