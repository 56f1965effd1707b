//! What an import holds: one text, or the files of an archive, each in the form that its bytes have.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use iocast_formats::read::{
    Input, ReadError, Rejected,
    form::{self, Stated},
    unpack::{Unpacked, unpack},
};
use serde::{Deserialize, Serialize};

use super::{Import, ImportRequest, Spooled, unreadable};
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
        let base = self.spool_path();
        let (path, stated) = (request.path.clone(), request.stated);
        let most = self.context.settings.import_max;
        let found = self.context.spawn_blocking(move || {
            let mut unpacking = Unpacking {
                base,
                most,
                stated,
                spooled: Vec::new(),
                list: Vec::new(),
                refused: Vec::new(),
            };
            unpacking.open(&path, None, 0)?;
            Ok::<_, ReadError>(unpacking)
        });
        let Unpacking { list, spooled, mut refused, .. } =
            found.await.map_err(AppError::internal)?.map_err(unreadable)?;
        match refused.pop() {
            // Nothing else came.
            Some(only) if list.is_empty() => Err(AppError::Malformed(only.reason)),
            last => {
                refused.extend(last);
                Ok((Documents { list: list.into(), _spooled: spooled }, refused))
            }
        }
    }
}

struct Unpacking {
    /// Files that come out lie beside this one.
    base: PathBuf,
    /// Bytes that may still come out: of all that is packed in each other together.
    most: u64,
    stated: Stated,
    spooled: Vec<Spooled>,
    list: Vec<Document>,
    refused: Vec<Rejected>,
}

impl Unpacking {
    fn open(&mut self, path: &Path, file: Option<Arc<str>>, depth: usize) -> Result<(), ReadError> {
        let mut from = BufReader::new(File::open(path).map_err(ReadError::Io)?);
        let mut head = Vec::new();
        from.by_ref().take(form::HEAD as u64).read_to_end(&mut head).map_err(ReadError::Io)?;
        let wrapping = match form::wrapping(&head) {
            Ok(wrapping) => wrapping,
            Err(reason) => {
                self.refuse(file, reason);
                return Ok(());
            }
        };
        let Some(wrapping) = wrapping else {
            let stated = match (self.stated, file.as_deref()) {
                (chosen @ Stated::Chosen(_), _) => chosen,
                (_, Some(name)) => form::of_file_name(name),
                (stated, None) => stated,
            };
            let input = form::recognise(&head, stated);
            self.list.push(Document { path: path.to_owned(), file, input });
            return Ok(());
        };
        if depth >= DEPTH_MAX {
            self.refuse(file, "The file is packed more than three times; unpack it.".to_owned());
            return Ok(());
        }
        let mut came: Vec<(PathBuf, Option<Arc<str>>)> = Vec::new();
        let (base, begun) = (self.base.clone(), self.spooled.len());
        let spooled = &mut self.spooled;
        let unpacked = unpack(wrapping, &mut from, self.most, &mut |Unpacked { name }| {
            let path = base.with_extension((begun + came.len()).to_string());
            spooled.push(Spooled(path.clone()));
            came.push((path.clone(), name.map(Arc::from).or_else(|| file.clone())));
            Ok(BufWriter::new(File::create(path)?))
        });
        match unpacked {
            Err(ReadError::Malformed(reason)) if file.is_some() => {
                self.refuse(file, reason);
                return Ok(());
            }
            other => other?,
        }
        for (path, _) in &came {
            let length = std::fs::metadata(path).map_err(ReadError::Io)?.len();
            self.most = self.most.saturating_sub(length);
        }
        if self.spooled.len() > FILES_MAX {
            return Err(ReadError::Malformed(format!(
                "The archive and those in it hold more than {FILES_MAX} files; import them in parts."
            )));
        }
        for (path, name) in came {
            self.open(&path, name, depth + 1)?;
        }
        Ok(())
    }

    fn refuse(&mut self, file: Option<Arc<str>>, reason: String) {
        let value = file.as_deref().unwrap_or_default().to_owned();
        self.refused.push(Rejected { line: 0, value, reason });
    }
}

impl Import<'_> {
    /// What the documents were taken for; of an archive with very many files, the first ones.
    pub(super) fn read_as(&self) -> Vec<ReadAs> {
        let named = |document: &Document| ReadAs {
            file: document.file.as_deref().map(str::to_owned),
            form: document.input,
        };
        self.documents.list.iter().take(100).map(named).collect()
    }
}
