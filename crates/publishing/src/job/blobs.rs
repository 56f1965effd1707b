//! Compressed bytes and the files that they make up.

use iocast_formats::{
    gzip,
    write::misp::{self},
};
use iocast_store::{BlobRef, FileRef, NewBlob, PartRow};

use crate::{AppError, AppResult};

/// The files of a MISP feed over its parts, oldest first: an event without attributes is not
/// listed.
pub(super) fn files(parts: &[PartRow], blobs: &mut Vec<NewBlob>) -> AppResult<Vec<FileRef>> {
    let listed: Vec<&PartRow> = parts.iter().filter(|p| !p.manifest_entry.is_empty()).collect();
    let manifest = misp::manifest(listed.iter().map(|p| (p.id, p.manifest_entry.as_str())));
    let file = |path: String, segments| FileRef {
        path,
        segments,
        before: None,
        first: None,
        version: None,
    };
    let mut files = vec![file("manifest.json".to_owned(), vec![blob(&manifest, blobs)?])];
    let hashes = listed.iter().map(|p| p.hashes.clone()).filter(|h| h.raw_len > 0).collect();
    files.push(file("hashes.csv".to_owned(), hashes));
    files.extend(listed.iter().map(|p| FileRef {
        first: p.first.clone(),
        version: p.version.clone(),
        ..file(format!("{}.json", p.id), vec![p.event.clone()])
    }));
    Ok(files)
}

/// Compresses a piece and names it by its content.
pub(super) fn blob(raw: &[u8], blobs: &mut Vec<NewBlob>) -> AppResult<BlobRef> {
    let segment = gzip::segment(raw).map_err(AppError::internal)?;
    let hash = blake3::hash(&segment.data).to_hex().to_string();
    let reference = BlobRef {
        hash: hash.clone(),
        crc: segment.crc,
        raw_len: segment.raw_len,
        len: segment.data.len() as u64,
    };
    blobs.push(NewBlob { hash, data: segment.data });
    Ok(reference)
}
