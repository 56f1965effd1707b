//! What an import did, as it is answered.

use iocast_app::{Document, ImportReport, Input, PreviewRow, ReadAs, Rejected};
use iocast_domain::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// A line that was refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct RejectedOut {
    /// Line in a text, or place in a list; from 1.
    line: u64,
    /// The value, clipped.
    value: String,
    /// Why.
    reason: String,
}

/// What a body, or a file in it, was taken for.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadAsOut {
    /// The name of the file, where it came out of an archive.
    file: Option<String>,
    /// The document that its text was taken from.
    document: Option<DocumentOut>,
    /// Its form.
    form: FormOut,
    /// The form in words.
    name: String,
}

/// The form of a text.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FormOut {
    Json,
    Table,
    List,
    Report,
    Html,
    OpenIoc,
}

impl From<Input> for FormOut {
    fn from(form: Input) -> Self {
        match form {
            Input::Json => Self::Json,
            Input::Table => Self::Table,
            Input::List => Self::List,
            Input::Report => Self::Report,
            Input::Html => Self::Html,
            Input::OpenIoc => Self::OpenIoc,
        }
    }
}

/// A kind of document.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DocumentOut {
    Pdf,
    Text,
    Slides,
    Sheet,
    Mail,
    Tar,
}

impl From<Document> for DocumentOut {
    fn from(document: Document) -> Self {
        match document {
            Document::Pdf => Self::Pdf,
            Document::Text => Self::Text,
            Document::Slides => Self::Slides,
            Document::Sheet => Self::Sheet,
            Document::Mail => Self::Mail,
            Document::Tar => Self::Tar,
        }
    }
}

impl From<ReadAs> for ReadAsOut {
    fn from(ReadAs { file, document, form }: ReadAs) -> Self {
        let name = match document {
            Some(document) => format!("{} from {}", form.name(), document.name()),
            None => form.name().to_owned(),
        };
        Self { file, document: document.map(DocumentOut::from), form: form.into(), name }
    }
}

/// What an import did.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportOut {
    /// Under which it is kept: `GET /imports/{id}`. Null of a dry run.
    pub(crate) id: Option<String>,
    /// IOCs that were not there before, each once.
    accepted: u64,
    /// IOCs that were there and changed.
    updated: u64,
    /// IOCs that were there; at most they were seen again.
    unchanged: u64,
    /// The first thousand lines that were refused.
    rejected: Vec<RejectedOut>,
    /// How many were refused in all.
    rejected_count: u64,
    /// Sentences on what was not taken of lines that were, as people decide it: whitelist states,
    /// user tags, confidence.
    ignored: Vec<String>,
    /// The first thousand fields of IOCs that could not be read and were left out; the IOCs were
    /// taken.
    remarks: Vec<RejectedOut>,
    /// How many were left out in all.
    remarks_count: u64,
    /// Of the new IOCs, how many were last seen so long ago that they are retired, and go to no
    /// device.
    retired: u64,
    /// What the body, or each file of an archive, was taken for.
    read_as: Vec<ReadAsOut>,
    /// IOCs that were unselected in a review.
    left_out: u64,
    /// Nothing was written.
    pub(crate) dry_run: bool,
    /// Of a dry run, the first 20 IOCs that would be new or change, as they would be.
    preview: Vec<PreviewOut>,
}

/// An IOC as an import would make it.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewOut {
    /// Kind.
    kind: &'static str,
    /// Value.
    value: String,
    /// Whether it would be new.
    new: bool,
    /// First seen.
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    /// Last seen.
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// The severity that would count.
    severity: &'static str,
    /// The confidence of this source's report: 1 to 3.
    confidence: Option<u8>,
    /// Tags.
    tags: Vec<String>,
}

impl From<PreviewRow> for PreviewOut {
    fn from(row: PreviewRow) -> Self {
        let PreviewRow { kind, value, is_new, first_seen, last_seen, severity, confidence, tags } =
            row;
        Self {
            kind: kind.word(),
            value,
            new: is_new,
            first_seen,
            last_seen,
            severity: severity.word(),
            confidence: confidence.map(u8::from),
            tags,
        }
    }
}

impl From<ImportReport> for ImportOut {
    fn from(report: ImportReport) -> Self {
        let ImportReport {
            id,
            accepted,
            updated,
            unchanged,
            rejected_count,
            rejected,
            remarks_count,
            remarks,
            read_as,
            retired,
            ignored,
            left_out,
            dry_run,
            preview,
        } = report;
        let line = |r: Rejected| RejectedOut { line: r.line, value: r.value, reason: r.reason };
        Self {
            id: id.map(|id| id.to_string()),
            accepted,
            updated,
            unchanged,
            rejected: rejected.into_iter().map(line).collect(),
            rejected_count,
            ignored: ignored.sentences(),
            remarks: remarks.into_iter().map(line).collect(),
            remarks_count,
            retired,
            read_as: read_as.into_iter().map(ReadAsOut::from).collect(),
            left_out,
            dry_run,
            preview: preview.into_iter().map(PreviewOut::from).collect(),
        }
    }
}
