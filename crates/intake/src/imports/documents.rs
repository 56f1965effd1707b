//! What an import holds: one text, or the files of an archive, each in the form that its bytes have.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use iocast_formats::read::{
    Input, ReadError, Rejected,
    document::Document as Kind,
    form::{self, Stated, Wrapping},
    unpack::{Unpacked, office, unpack},
};
use serde::{Deserialize, Serialize};

use super::{
    Import, ImportRequest, Spooled,
    apart::{self, Extracted, ExtractedFile},
    unreadable,
};
use crate::{AppError, AppResult, Intake};

/// Most files of an import, those of archives in archives counted.
const FILES_MAX: usize = 1_000;
/// Wrappings that may lie around each other: a UTF-16 text in gzip in a ZIP archive.
const DEPTH_MAX: usize = 3;

/// A text to be read.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) path: PathBuf,
    /// Its name, where it came out of an archive.
    pub(super) file: Option<Arc<str>>,
    /// What its text was taken from.
    pub(super) out_of: Option<Kind>,
    pub(super) input: Input,
}

/// The documents of an import, whose files are gone when this is.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) list: Arc<[Document]>,
    _spooled: Vec<Spooled>,
}

/// What a file was taken for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadAs {
    /// Its name, where it came out of an archive.
    pub file: Option<String>,
    /// The document that its text was taken from.
    #[serde(default)]
    pub document: Option<Kind>,
    /// Its form.
    pub form: Input,
}

impl Intake {
    /// Unpacks an import and finds the form of each text in it; files that can't be read are refused
    /// one by one.
    pub(super) async fn documents(
        &self,
        request: &ImportRequest,
    ) -> AppResult<(Documents, Vec<Rejected>)> {
        // A shell may be the first to write into the data folder.
        tokio::fs::create_dir_all(self.spool()).await.map_err(AppError::internal)?;
        let base = self.spool_path();
        let (path, stated) = (request.path.clone(), request.stated);
        let most = self.context.settings.import_max;
        let program = self.context.settings.program.clone();
        let alone = Arc::clone(&self.document);
        let found = self.context.spawn_blocking(move || {
            let mut unpacking = Unpacking {
                base,
                most,
                stated,
                program,
                time: apart::ALL_MAX,
                alone,
                spooled: Vec::new(),
                list: Vec::new(),
                refused: Vec::new(),
            };
            unpacking.open(&path, &Origin::default(), 0)?;
            Ok::<_, ReadError>(unpacking)
        });
        let Unpacking { list, spooled, mut refused, .. } =
            found.await.map_err(AppError::internal)?.map_err(unreadable)?;
        match refused.pop() {
            // Nothing else came.
            Some(only) if list.is_empty() && refused.is_empty() => {
                Err(AppError::Malformed(only.reason))
            }
            last => {
                refused.extend(last);
                Ok((Documents { list: list.into(), _spooled: spooled }, refused))
            }
        }
    }
}

/// Where a file came from.
#[derive(Clone, Debug, Default)]
struct Origin {
    /// Its name in an archive.
    file: Option<Arc<str>>,
    document: Option<Kind>,
    form: Option<Input>,
}

struct Unpacking {
    /// Files that come out lie beside this one.
    base: PathBuf,
    /// Bytes that may still come out: of all that is packed in each other together.
    most: u64,
    stated: Stated,
    /// The program that reads documents.
    program: PathBuf,
    /// How long it may still take.
    time: Duration,
    /// Held while a document is read.
    alone: Arc<Mutex<()>>,
    spooled: Vec<Spooled>,
    list: Vec<Document>,
    refused: Vec<Rejected>,
}

impl Unpacking {
    fn open(&mut self, path: &Path, origin: &Origin, depth: usize) -> Result<(), ReadError> {
        let mut from = BufReader::new(File::open(path).map_err(ReadError::Io)?);
        let mut head = Vec::new();
        from.by_ref().take(form::HEAD as u64).read_to_end(&mut head).map_err(ReadError::Io)?;
        let wrapping = match form::wrapping(&head) {
            Ok(Some(Wrapping::Zip)) => {
                Some(office(&mut from).map_or(Wrapping::Zip, Wrapping::Document))
            }
            Ok(wrapping) => wrapping,
            Err(reason) => {
                self.refuse(origin, reason);
                return Ok(());
            }
        };
        let Some(wrapping) = wrapping else {
            let stated = match (self.stated, origin.form, origin.file.as_deref()) {
                (chosen @ Stated::Chosen(_), ..) => chosen,
                (_, Some(form), _) => Stated::Hint(form),
                (_, None, Some(name)) => form::of_file_name(name),
                (stated, None, None) => stated,
            };
            let input = form::recognise(&head, stated);
            let Origin { file, document: out_of, .. } = origin.clone();
            self.list.push(Document { path: path.to_owned(), file, out_of, input });
            return Ok(());
        };
        if depth >= DEPTH_MAX {
            self.refuse(origin, "The file is packed more than three times; unpack it.".to_owned());
            return Ok(());
        }
        let came = match self.unpack(wrapping, path, &mut from, origin) {
            Err(ReadError::Malformed(reason)) if origin.file.is_some() => {
                self.refuse(origin, reason);
                return Ok(());
            }
            other => other?,
        };
        for (path, _) in &came {
            let length = std::fs::metadata(path).map_err(ReadError::Io)?.len();
            self.most = self.most.saturating_sub(length);
        }
        if self.spooled.len() > FILES_MAX {
            return Err(ReadError::Malformed(format!(
                "The archive and those in it hold more than {FILES_MAX} files; import them in parts."
            )));
        }
        for (path, origin) in came {
            self.open(&path, &origin, depth + 1)?;
        }
        Ok(())
    }

    /// Takes off one wrapping. Gives where what came out lies.
    fn unpack(
        &mut self,
        wrapping: Wrapping,
        path: &Path,
        from: &mut BufReader<File>,
        origin: &Origin,
    ) -> Result<Vec<(PathBuf, Origin)>, ReadError> {
        if let Wrapping::Document(document) = wrapping {
            return self.extract(document, path, origin);
        }
        let (base, begun) = (self.base.clone(), self.spooled.len());
        let mut came = Vec::new();
        let spooled = &mut self.spooled;
        unpack(wrapping, from, self.most, &mut |Unpacked { name, form }| {
            let path = base.with_extension((begun + came.len()).to_string());
            spooled.push(Spooled(path.clone()));
            let file = name.map(Arc::from).or_else(|| origin.file.clone());
            came.push((path.clone(), Origin { file, form, ..origin.clone() }));
            Ok(BufWriter::new(File::create(path)?))
        })?;
        Ok(came)
    }

    /// Has a document read in a process of its own.
    fn extract(
        &mut self,
        document: Kind,
        path: &Path,
        origin: &Origin,
    ) -> Result<Vec<(PathBuf, Origin)>, ReadError> {
        let to = self.base.with_extension(self.spooled.len().to_string());
        let request = apart::Request {
            program: &self.program,
            document,
            from: path,
            to: &to,
            most: self.most,
        };
        // One at a time, whatever comes at once: each may use much memory.
        let alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let extracted = apart::extract(&request, &mut self.time);
        drop(alone);
        // Also what lies there of one that was stopped.
        self.spooled.extend(apart::written(&to));
        match extracted? {
            Extracted::Refused(reason) => Err(ReadError::Malformed(reason)),
            Extracted::Files { files, left_out } => {
                for reason in left_out {
                    self.refuse(origin, reason);
                }
                let named = |(number, ExtractedFile { name, form })| {
                    let file = name.map(Arc::from).or_else(|| origin.file.clone());
                    let path = apart::of_number(&to, number)?;
                    Some((path, Origin { file, document: Some(document), form }))
                };
                Ok(files.into_iter().enumerate().filter_map(named).collect())
            }
        }
    }

    fn refuse(&mut self, origin: &Origin, reason: String) {
        let value = origin.file.as_deref().unwrap_or_default().to_owned();
        self.refused.push(Rejected { line: 0, value, reason });
    }
}

impl Import<'_> {
    /// What the documents were taken for; of an archive with very many files, the first ones.
    pub(super) fn read_as(&self) -> Vec<ReadAs> {
        let named = |document: &Document| ReadAs {
            file: document.file.as_deref().map(str::to_owned),
            document: document.out_of,
            form: document.input,
        };
        self.documents.list.iter().take(100).map(named).collect()
    }
}
