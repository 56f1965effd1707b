//! Documents: files that hold text among other things, and archives of files.
//!
//! What reads them is large, and the files are a stranger's. Run [`extract`] in a process of its own
//! that may use little memory and time.

use std::io::{self, Read, Seek, Write};

use super::{ReadError, unpack::Unpacked};

#[cfg(feature = "documents")]
mod mail;
#[cfg(feature = "documents")]
mod markup;
#[cfg(feature = "documents")]
mod pdf;
#[cfg(feature = "documents")]
mod sheet;
#[cfg(feature = "documents")]
mod tape;

/// A kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Document {
    /// PDF.
    Pdf,
    /// Text of an office program: DOCX, ODT.
    Text,
    /// Slides: PPTX, ODP.
    Slides,
    /// Tables: XLSX, XLSB, ODS, and the XLS of old.
    Sheet,
    /// A mail with its attachments.
    Mail,
    /// A tar archive.
    Tar,
}

impl Document {
    /// Every kind.
    pub const ALL: &'static [Self] =
        &[Self::Pdf, Self::Text, Self::Slides, Self::Sheet, Self::Mail, Self::Tar];

    /// The word for it in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Text => "text",
            Self::Slides => "slides",
            Self::Sheet => "sheet",
            Self::Mail => "mail",
            Self::Tar => "tar",
        }
    }

    /// The kind of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|document| document.word() == word)
    }

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pdf => "a PDF",
            Self::Text => "a text document",
            Self::Slides => "slides",
            Self::Sheet => "a spreadsheet",
            Self::Mail => "a mail",
            Self::Tar => "a tar archive",
        }
    }
}

/// Largest document that is read, in bytes: all of it lies in memory.
pub const SIZE_MAX: u64 = 64 << 20;

/// Writes the text of a document, or the files in it, to what `next` opens. Gives sentences on what
/// was left out.
///
/// # Errors
/// [`ReadError::Malformed`] says what to do.
pub fn extract<R: Read + Seek, W: Write>(
    document: Document,
    from: &mut R,
    most: u64,
    next: &mut dyn FnMut(Unpacked) -> io::Result<W>,
) -> Result<Vec<String>, ReadError> {
    let length = from.seek(io::SeekFrom::End(0)).map_err(ReadError::Io)?;
    from.rewind().map_err(ReadError::Io)?;
    if length > SIZE_MAX && document != Document::Tar {
        return Err(ReadError::Malformed(format!(
            "The file is {}, and larger than {} MiB, the most that is read of one; save its text as a file.",
            document.name(),
            SIZE_MAX >> 20
        )));
    }
    by_kind(document, from, most, next)
}

#[cfg(not(feature = "documents"))]
fn by_kind<R: Read + Seek, W: Write>(
    document: Document,
    _from: &mut R,
    _most: u64,
    _next: &mut dyn FnMut(Unpacked) -> io::Result<W>,
) -> Result<Vec<String>, ReadError> {
    Err(ReadError::Malformed(format!(
        "The file is {}, which this build of iocast can't read; save its text as a file.",
        document.name()
    )))
}

#[cfg(feature = "documents")]
fn by_kind<R: Read + Seek, W: Write>(
    document: Document,
    from: &mut R,
    most: u64,
    next: &mut dyn FnMut(Unpacked) -> io::Result<W>,
) -> Result<Vec<String>, ReadError> {
    let mut outputs = Outputs { next, left: std::rc::Rc::new(std::cell::Cell::new(most)), most };
    match document {
        Document::Pdf => pdf::extract(from, &mut outputs),
        Document::Text | Document::Slides => markup::extract(from, &mut outputs),
        Document::Sheet => sheet::extract(from, &mut outputs),
        Document::Mail => mail::extract(from, &mut outputs),
        Document::Tar => tape::extract(from, &mut outputs),
    }
}

/// Where what comes out is written, up to a bound on all of it.
#[cfg(feature = "documents")]
struct Outputs<'a, W> {
    next: &'a mut dyn FnMut(Unpacked) -> io::Result<W>,
    left: std::rc::Rc<std::cell::Cell<u64>>,
    most: u64,
}

#[cfg(feature = "documents")]
impl<W: Write> Outputs<'_, W> {
    fn open(&mut self, file: Unpacked) -> Result<Bounded<W>, ReadError> {
        let to = (self.next)(file).map_err(ReadError::Io)?;
        Ok(Bounded { to, left: std::rc::Rc::clone(&self.left), most: self.most })
    }
}

/// A file that comes out.
#[cfg(feature = "documents")]
struct Bounded<W> {
    to: W,
    left: std::rc::Rc<std::cell::Cell<u64>>,
    most: u64,
}

#[cfg(feature = "documents")]
impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.left.get().checked_sub(bytes.len() as u64) {
            Some(left) => self.left.set(left),
            None => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "what it holds is larger than {} MiB, the most that is taken; import it in parts",
                        self.most >> 20
                    ),
                ));
            }
        }
        self.to.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(feature = "documents")]
fn whole(from: &mut impl Read) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    from.take(SIZE_MAX).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    Ok(bytes)
}
