//! The text of a PDF, page by page.

use std::{
    io::{Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
};

use pdf_extract::{Document, output_doc_page};

use super::{Outputs, whole};
use crate::read::{Input, ReadError, unpack::Unpacked};

mod lines;
mod widths;
use self::lines::Lines;

/// Most pages that are read.
const PAGES_MAX: usize = 5_000;

pub(super) fn extract<W: Write>(
    from: &mut impl Read,
    outputs: &mut Outputs<'_, W>,
) -> Result<Vec<String>, ReadError> {
    let bytes = whole(from)?;
    let broken = |what: &str| {
        ReadError::Malformed(format!(
            "The PDF can't be read: {what}; copy its text into the box, or save it as text."
        ))
    };
    // The library stops with a panic at much that it does not expect.
    let loaded = catch_unwind(AssertUnwindSafe(|| Document::load_mem(&bytes)));
    let mut document =
        loaded.map_err(|_| broken("it is broken"))?.map_err(|_| broken("it is broken"))?;
    if document.is_encrypted() {
        // Many that ask for no password are encrypted with an empty one.
        let opened = catch_unwind(AssertUnwindSafe(|| document.decrypt("")));
        if !matches!(opened, Ok(Ok(()))) {
            return Err(broken("it asks for a password"));
        }
    }
    widths::as_lists(&mut document);
    let mut to = outputs.open(Unpacked { name: None, form: Some(Input::Report) })?;
    let (mut left_out, mut any) = (Vec::new(), false);
    for page in document.get_pages().keys().take(PAGES_MAX) {
        let read = catch_unwind(AssertUnwindSafe(|| {
            let mut lines = Lines::default();
            output_doc_page(&document, &mut lines, *page).map(|()| lines.text)
        }));
        match read {
            Ok(Ok(text)) => {
                any = any || text.chars().any(char::is_alphanumeric);
                to.write_all(text.as_bytes())?;
                to.write_all(b"\n")?;
            }
            _ => left_out.push(format!("Page {page} of the PDF can't be read.")),
        }
    }
    to.flush()?;
    match any {
        true => Ok(left_out),
        false if left_out.is_empty() => Err(broken("it holds pictures and no text")),
        false => Err(broken("none of its pages can be read")),
    }
}
