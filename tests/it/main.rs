//! One binary for all stories. Each story runs on both engines; the clock is moved by hand.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a story that goes wrong ends there")]
#![expect(clippy::too_many_lines, reason = "some stories are long")]

mod support;

mod accounts;
mod alerts;
mod api;
mod browser;
mod clients;
mod compared;
mod conformance;
mod copies;
mod crash;
mod database;
mod digests;
mod documents;
mod durability;
mod edges;
mod emulator;
mod every_page;
mod faulty;
mod feed;
mod followed;
mod found;
mod full;
mod hostile;
mod import_history;
mod imports;
mod intake;
mod integrators;
mod keys;
mod killed_fetches;
mod kills;
mod large_sources;
mod licences;
mod lists;
mod mail;
mod main_job;
mod many_groups;
mod misp_histories;
mod misp_stores;
mod old_databases;
mod openapi;
mod packages;
mod pages;
mod properties;
mod public;
mod real_data;
mod receipts;
mod replicas;
mod resolvers;
mod rollbacks;
mod served;
mod service_tokens;
mod settings;
mod setup_forms;
mod shell;
mod sources;
mod start_stop;
mod subscriptions;
mod taxii;
mod tls;
mod upstreams;
mod warninglists;
mod watchdog;
