//! Where IOCs come in and are changed: imports, sources, single and bulk edits, alerts.
//!
//! A body is spooled, taken apart on one thread and understood on all, merged onto a stage in
//! small writes, and made seen by one transaction under the account's next change number.

use std::sync::{Arc, atomic::AtomicI64};

use iocast_context::{Actor, AppError, AppResult, Context, Fields, GroupNews, Messages, taken};

mod alerts;
mod imports;
mod iocs;
mod known;
mod listed;
mod quality;
mod respell;
mod retire;
mod sources;
mod subscriptions;
mod walk;
mod warninglists;

pub use self::{
    alerts::{ALERT_SOURCE, AlertChange, AlertQuery, NewAlert},
    imports::{
        Extracted, ExtractedFile, Ignored, ImportReport, ImportRequest, ImportView, Mode,
        PreviewRow, Progress, ReadAs, ReviewIoc, ReviewPage, Spooled, Trust, UndoPlan,
        extracted_file,
    },
    iocs::{COUNTED, IocPatch, IocQuery, IocView},
    quality::{RatedSource, SourceQuality},
    sources::{NewSource, SourcePatch},
    subscriptions::{Ledger, Loss, NewSubscription, PublicFeedView, SubscriptionView},
    walk::{BulkEditResult, DocumentIoc, IocEdit, NewDocument, WalkPage, WalkQuery, Walked},
    warninglists::{ListGiven, ListOutcome},
};

/// Takes IOCs in.
pub struct Intake {
    context: Arc<Context>,
    messages: Arc<dyn Messages>,
    /// Held while the stage of an import is cleared.
    clearing: tokio::sync::Mutex<()>,
    /// Held while an import is read in the background.
    reading: tokio::sync::Mutex<()>,
    /// Held while a document is read.
    document: Arc<std::sync::Mutex<()>>,
    /// Lists that are fetched at once.
    fetching: Arc<tokio::sync::Semaphore>,
    /// When IOCs of lists were last looked at, in UTC microseconds; 0 if they never were.
    listed_at: AtomicI64,
}

impl Intake {
    /// Into the database of this context. News of sources goes to `messages`.
    #[must_use]
    pub fn new(context: Arc<Context>, messages: Arc<dyn Messages>) -> Self {
        Self {
            context,
            messages,
            clearing: tokio::sync::Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            document: Arc::default(),
            fetching: Arc::new(tokio::sync::Semaphore::new(subscriptions::AT_ONCE)),
            listed_at: AtomicI64::new(0),
        }
    }
}
