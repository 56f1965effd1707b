//! Takes off what is around the text of an import: compression, archives, other encodings.

use std::io::{self, Read, Seek, Write};

use super::{
    Input, ReadError,
    document::{self, Document},
    form::Wrapping,
    plain,
};

/// How much larger a file may become than its packed form: text shrinks to a tenth, rarely to a
/// hundredth.
const RATIO_MAX: u64 = 200;
/// What may always come out, in bytes.
const ALWAYS: u64 = 16 << 20;
/// Most files of an archive.
pub(super) const FILES_MAX: usize = 1_000;

/// A file that came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Its name in the archive, if it was in one.
    pub name: Option<String>,
    /// Its form, where what it was in says so.
    pub form: Option<Input>,
}

/// What a ZIP archive is, where it is a document of an office program.
pub fn office<R: Read + Seek>(from: &mut R) -> Option<Document> {
    let archive = zip::ZipArchive::new(from).ok()?;
    let of_name = |name: &str| match name {
        "word/document.xml" => Some(Document::Text),
        "ppt/presentation.xml" => Some(Document::Slides),
        "xl/workbook.xml" | "xl/workbook.bin" => Some(Document::Sheet),
        _ => None,
    };
    if let Some(document) = archive.file_names().flatten().find_map(|name| of_name(&name)) {
        return Some(document);
    }
    let mut archive = archive;
    let mut kind = String::new();
    archive.by_name("mimetype").ok()?.take(100).read_to_string(&mut kind).ok()?;
    match kind.trim().strip_prefix("application/vnd.oasis.opendocument.")? {
        "text" => Some(Document::Text),
        "presentation" => Some(Document::Slides),
        "spreadsheet" => Some(Document::Sheet),
        _ => None,
    }
}

/// Takes off one wrapping. `next` opens a place to write each file to. Gives sentences on what was
/// left out.
///
/// # Errors
/// [`ReadError::Malformed`] if the file is broken, needs a password that is not the usual one, or
/// would become larger than `most` bytes.
pub fn unpack<R: Read + Seek, W: Write>(
    wrapping: Wrapping,
    from: &mut R,
    most: u64,
    next: &mut dyn FnMut(Unpacked) -> io::Result<W>,
) -> Result<Vec<String>, ReadError> {
    let length = from.seek(io::SeekFrom::End(0)).map_err(ReadError::Io)?;
    from.rewind().map_err(ReadError::Io)?;
    let most = most.min(length.saturating_mul(RATIO_MAX).max(ALWAYS));
    match wrapping {
        Wrapping::Text(encoding) => {
            let mut to = next(Unpacked::default()).map_err(ReadError::Io)?;
            plain::transcode(encoding, from, &mut to).map_err(ReadError::Io)?;
            to.flush().map_err(ReadError::Io)?;
        }
        Wrapping::Gzip => {
            let mut to = next(Unpacked::default()).map_err(ReadError::Io)?;
            let mut packed = flate2::read::MultiGzDecoder::new(from);
            copy(&mut packed, &mut to, most, &mut 0)?;
        }
        Wrapping::Zip => zip(from, most, next)?,
        Wrapping::Document(document) => return document::extract(document, from, most, next),
    }
    Ok(Vec::new())
}

/// The usual password of archives with malware and indicators.
const PASSWORD: &[u8] = b"infected";

fn zip<R: Read + Seek, W: Write>(
    from: &mut R,
    most: u64,
    next: &mut dyn FnMut(Unpacked) -> io::Result<W>,
) -> Result<(), ReadError> {
    let broken = |error: zip::result::ZipError| match error {
        zip::result::ZipError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            ReadError::Io(error)
        }
        other => ReadError::Malformed(format!("The ZIP archive can't be read: {other}.")),
    };
    let mut archive = zip::ZipArchive::new(from).map_err(broken)?;
    if archive.len() > FILES_MAX {
        return Err(ReadError::Malformed(format!(
            "The ZIP archive holds more than {FILES_MAX} files; import them in several archives."
        )));
    }
    let mut written = 0;
    for at in 0..archive.len() {
        let encrypted = archive.by_index_raw(at).map_err(broken)?.encrypted();
        let mut file = if encrypted {
            archive.by_index_decrypt(at, PASSWORD).map_err(|error| match error {
                zip::result::ZipError::InvalidPassword => ReadError::Malformed(
                    "The ZIP archive has another password than `infected`; unpack it first."
                        .to_owned(),
                ),
                other => broken(other),
            })?
        } else {
            archive.by_index(at).map_err(broken)?
        };
        let name = file.name().map_err(broken)?.into_owned();
        if !file.is_file() || name.starts_with("__MACOSX/") {
            continue;
        }
        let name = Some(name);
        let mut to = next(Unpacked { name, form: None }).map_err(ReadError::Io)?;
        copy(&mut file, &mut to, most, &mut written)?;
    }
    Ok(())
}

/// Copies, up to a bound on all that comes out.
fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    most: u64,
    written: &mut u64,
) -> Result<(), ReadError> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // What a decoder says of its input.
            Err(error) => {
                return Err(ReadError::Malformed(format!("The file can't be unpacked: {error}.")));
            }
        };
        if read == 0 {
            return to.flush().map_err(ReadError::Io);
        }
        *written += read as u64;
        if *written > most {
            return Err(ReadError::Malformed(format!(
                "Unpacked, the file is larger than {} MiB, the most that is taken; import it in parts.",
                most >> 20
            )));
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).map_err(ReadError::Io)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn unpacked(wrapping: Wrapping, bytes: &[u8]) -> Result<Vec<u8>, ReadError> {
        let path = std::env::temp_dir().join(format!("iocast-unpack-{:p}", &raw const bytes));
        unpack(wrapping, &mut Cursor::new(bytes), 64 << 20, &mut |_| std::fs::File::create(&path))?;
        let out = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        Ok(out)
    }

    #[test]
    fn gzip_and_its_bombs() {
        let pack = |text: &[u8]| {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            packed.write_all(text).unwrap();
            packed.finish().unwrap()
        };
        assert_eq!(unpacked(Wrapping::Gzip, &pack(b"evil.example\n")).unwrap(), b"evil.example\n");
        let bomb = pack(&vec![0; 20 << 20]);
        assert!(
            matches!(unpacked(Wrapping::Gzip, &bomb), Err(ReadError::Malformed(m)) if m.contains("16 MiB"))
        );
        assert!(matches!(
            unpacked(Wrapping::Gzip, &[0x1f, 0x8b, 8, 0, 1]),
            Err(ReadError::Malformed(_))
        ));
        assert!(matches!(
            unpacked(Wrapping::Zip, b"PK\x03\x04nonsense"),
            Err(ReadError::Malformed(_))
        ));
    }
}
