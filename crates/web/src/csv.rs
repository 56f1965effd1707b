//! Tables that people open in a spreadsheet.

use std::io;

use actix_web::{HttpResponse, http::header};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use iocast_app::AppError;

/// A table as a file, sent page by page: `lines` gives those of a page, and which one is next. An
/// error cuts the answer off: half a table must not pass for a whole one.
pub(crate) fn streamed<P, F>(
    name: &str,
    head: &[&str],
    first: Option<P>,
    lines: impl Fn(P) -> F + 'static,
) -> HttpResponse
where
    P: 'static,
    F: Future<Output = Result<(String, Option<P>), AppError>> + 'static,
{
    let head = stream::iter([Ok::<_, io::Error>(Bytes::from(line(head)))]);
    let pages = stream::try_unfold(first, move |page| {
        let read = page.map(&lines);
        async move {
            let Some(read) = read else { return Ok(None) };
            let (lines, next) = read.await.map_err(io::Error::other)?;
            Ok(Some((Bytes::from(lines), next)))
        }
    });
    HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .streaming(head.chain(pages))
}

/// A quoted cell; what a spreadsheet would take for a formula gets an apostrophe in front (OWASP,
/// CSV injection).
pub(crate) fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, text.replace('"', "\"\""))
}

/// A line of cells.
pub(crate) fn line<S: AsRef<str>>(cells: &[S]) -> String {
    cells.iter().map(|c| cell(c.as_ref())).collect::<Vec<_>>().join(",") + "\r\n"
}
