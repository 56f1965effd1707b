//! The files of a tar archive.

use std::io::{self, Read, Write};

use super::Outputs;
use crate::read::{
    ReadError,
    unpack::{FILES_MAX, Unpacked},
};

pub(super) fn extract<W: Write>(
    from: &mut impl Read,
    outputs: &mut Outputs<'_, W>,
) -> Result<Vec<String>, ReadError> {
    let broken =
        |error: io::Error| ReadError::Malformed(format!("The tar archive can't be read: {error}."));
    let mut archive = tar::Archive::new(from);
    let mut files = 0;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        files += 1;
        if files > FILES_MAX {
            return Err(ReadError::Malformed(format!(
                "The tar archive holds more than {FILES_MAX} files; import them in several archives."
            )));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut to = outputs.open(Unpacked { name: Some(name), form: None })?;
        io::copy(&mut entry, &mut to)?;
        to.flush()?;
    }
    Ok(Vec::new())
}
