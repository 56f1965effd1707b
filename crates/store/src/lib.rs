//! Rows in, domain types out. No entity leaves this crate, and only `backend` knows which engine it
//! is.
//!
//! Functions are named noun first (`device_list`). They live on [`Conn`]: reading ones on every
//! connection, writing ones only on a transaction ([`Txn`]), so that nothing is written outside of
//! one.

use sea_orm::DatabaseConnection;

mod accounts;
mod alerts;
mod backend;
mod copy;
mod devices;
mod digests;
mod error;
mod groups;
mod imports;
mod iocs;
mod keys;
mod log;
mod members;
mod messages;
mod named;
mod outages;
mod overview;
mod page;
mod protections;
mod publications;
mod pulls;
mod quality;
mod receipts;
mod refused;
mod respell;
mod retention;
mod row;
mod rules;
mod service_tokens;
mod settings;
mod sources;
mod stage;
mod subscriptions;
mod threat_names;
mod transaction;
mod versions;
mod warninglists;

pub use self::{
    accounts::SessionRow,
    alerts::AlertFilter,
    backend::{Pool, Signal, Signals, Store},
    copy::{
        Cell, DamagedGroup, MOVE_PROGRESS, RESTORE_PROGRESS, Restored, Rows, Snapshot, Table,
        step_names, tables,
    },
    error::{StoreError, StoreResult},
    groups::GroupRow,
    imports::{ImportFilter, ImportLine, ImportRecord, ReviewFilter, ReviewRow},
    iocs::{IocFilter, IocPage, IocRow, Standpoint, Walk},
    log::{Attempt, AuditFilter, AuditLine, Stored},
    members::MemberRow,
    messages::{Channel, MessageCounts, MessageRow, NewMessage, Settled},
    named::Named,
    outages::{OutageMessage, OutageRow, WarningFate},
    overview::{HeldGroup, IocDay},
    page::{Page, PageOf},
    protections::{NewProtection, ProtectionRow},
    publications::{
        Before, BlobRef, FileRef, GroupUpdate, NewBlob, NewPublication, PartRow, PublicationLine,
        PublishState,
    },
    pulls::{NewPull, PullDay, PullLine},
    quality::{CountedSource, Handled, IdRange, LastCount, TakenImport},
    receipts::{Client, EventReceipt, NewReceipt, Receipt, Withdrawal},
    retention::Old,
    stage::{PromoteOrder, StageCounts, StageWrite, Staged, id_ranges},
    subscriptions::{Fetch, Section},
    threat_names::ThreatName,
};

/// A connection that reads, or a transaction that also writes.
#[derive(Debug)]
pub struct Conn<C>(pub(crate) C);

/// Reads committed rows.
pub type Reader = Conn<DatabaseConnection>;

/// Writes: nothing of it is seen before [`Txn::commit`], and all of it is undone when it is
/// dropped.
pub type Txn = Conn<transaction::Write>;
