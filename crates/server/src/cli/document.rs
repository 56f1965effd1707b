//! `iocast read-document`: one document of an import, in a process of its own.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter},
    path::Path,
    process::ExitCode,
};

use iocast_app::{Extracted, ExtractedFile, extracted_file};
use iocast_formats::read::{
    ReadError,
    document::{Document, extract},
    unpack::Unpacked,
};

use super::{Cli, arguments::CliCommand};
use crate::limits;

/// Reads a document, if that is what the command line asks for: before there are threads, whose
/// stacks would count.
#[must_use]
pub fn read_document(cli: &Cli) -> Option<ExitCode> {
    let CliCommand::ReadDocument { document, from, to, most } = &cli.command else { return None };
    let done = limits::confine(*most).and_then(|()| read(document, from, to, *most));
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("iocast: {error}");
            ExitCode::FAILURE
        }
    })
}

fn read(document: &str, from: &Path, to: &Path, most: u64) -> io::Result<()> {
    limits::make_files_private();
    let document = Document::from_word(document)
        .ok_or_else(|| io::Error::other("there is no document of this kind"))?;
    let mut files = Vec::new();
    let read = extract(document, &mut BufReader::new(File::open(from)?), most, &mut |file| {
        let Unpacked { name, form } = file;
        let path = extracted_file(to, files.len());
        files.push(ExtractedFile { name, form });
        Ok(BufWriter::new(File::create(path)?))
    });
    let extracted = match read {
        Ok(left_out) => Extracted::Files { files, left_out },
        Err(ReadError::Malformed(reason)) => Extracted::Refused(reason),
        Err(ReadError::Io(error)) => return Err(error),
        Err(error @ ReadError::Stopped) => return Err(io::Error::other(error)),
    };
    serde_json::to_writer(io::stdout().lock(), &extracted).map_err(io::Error::from)
}
