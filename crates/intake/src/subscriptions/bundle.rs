//! What came in several files, in one that can be imported.

use std::{
    fs::File,
    io::{Read, Write as _},
};

use iocast_fetch::Failure;
use sha2::{Digest as _, Sha256};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::upstream::{Upstream, broken};
use crate::Spooled;

/// Files of an import in one archive, each with its name.
pub(super) struct Bundle {
    spooled: Spooled,
    archive: ZipWriter<File>,
}

impl Bundle {
    pub(super) fn create(upstream: &Upstream) -> Result<Self, Failure> {
        let (spooled, file) = upstream.file("zip")?;
        Ok(Self { spooled, archive: ZipWriter::new(file) })
    }

    pub(super) fn add(&mut self, name: &str, body: &[u8]) -> Result<(), Failure> {
        self.begin(name).and_then(|()| self.archive.write_all(body).map_err(broken))
    }

    /// Adds what is read, and takes it into a hash. Gives how many bytes it was; of more than
    /// `most`, the rest is not read.
    pub(super) fn copy(
        &mut self,
        name: &str,
        from: impl Read,
        most: u64,
        hasher: &mut Sha256,
    ) -> Result<u64, Failure> {
        self.begin(name)?;
        let mut from = from.take(most.saturating_add(1));
        let (mut buffer, mut bytes) = (vec![0; 64 * 1024], 0);
        loop {
            let read = from.read(&mut buffer).map_err(broken)?;
            let Some(some) = buffer.get(..read).filter(|some| !some.is_empty()) else { break };
            hasher.update(some);
            self.archive.write_all(some).map_err(broken)?;
            bytes += read as u64;
        }
        Ok(bytes)
    }

    fn begin(&mut self, name: &str) -> Result<(), Failure> {
        // It is read once, right after.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(true);
        self.archive.start_file(name, options).map_err(|error| broken(error.into()))
    }

    pub(super) fn finish(self) -> Result<Spooled, Failure> {
        let finished = self.archive.finish().map_err(|error| broken(error.into()));
        finished.and_then(|mut file| file.flush().map_err(broken))?;
        Ok(self.spooled)
    }
}
