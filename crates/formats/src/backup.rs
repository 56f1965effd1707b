//! The file of a backup: lines of JSON, compressed with gzip, encrypted with age
//! (<https://age-encryption.org/v1>), so that `age --decrypt` and `gunzip` read it without iocast.

use std::io::{self, BufRead as _, BufReader, Read, Write};

use age::{
    Decryptor, Encryptor, Identity, Recipient, scrypt,
    secrecy::{ExposeSecret as _, SecretString},
    stream::{StreamReader, StreamWriter},
    x25519,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};

/// How much work a passphrase takes: 2 to this power. About a second on a small machine.
const WORK: u8 = 16;
/// The most that a file may ask for.
const WORK_MAX: u8 = 22;
/// Longest line, in bytes: a row with a file of a feed in it.
const LINE_MAX: u64 = 1 << 30;

/// Who may read a backup.
#[derive(Clone)]
pub enum Lock {
    /// Those who know this passphrase.
    Passphrase(String),
    /// Those who hold the key of one of these recipients: `age1…`.
    Recipients(Vec<String>),
}

/// What opens a backup.
#[derive(Clone)]
pub enum Unlock {
    /// Its passphrase.
    Passphrase(String),
    /// The text of a key file, with lines that begin `AGE-SECRET-KEY-1`.
    Keys(String),
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock(…)")
    }
}

impl std::fmt::Debug for Unlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unlock(…)")
    }
}

/// Why a backup can't be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A recipient or a key is none.
    #[error("{0}")]
    Key(String),
    /// It is no backup, or not whole.
    #[error("{0}")]
    Broken(String),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A new pair: the text of a key file, and the recipient that goes with it.
#[must_use]
pub fn new_key() -> (String, String) {
    let key = x25519::Identity::generate();
    let recipient = key.to_public().to_string();
    let text = format!(
        "# The key of iocast backups: keep it apart from them.\n# public key: {recipient}\n{}\n",
        key.to_string().expose_secret()
    );
    (text, recipient)
}

/// Checks recipients before there is anything to encrypt.
///
/// # Errors
/// Which of them is none.
pub fn check_recipients(recipients: &[String]) -> Result<(), BackupError> {
    recipients.iter().try_for_each(|text| recipient(text).map(drop))
}

fn recipient(text: &str) -> Result<x25519::Recipient, BackupError> {
    text.trim().parse().map_err(|why| {
        BackupError::Key(format!(
            "`{text}` is no recipient of age ({why}); it begins with age1, as `iocast backup-key` prints it."
        ))
    })
}

/// Bytes as they are written in a line.
#[must_use]
pub fn text_of(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes as they were before; none where the text is not from [`text_of`].
#[must_use]
pub fn bytes_of(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Writes a backup line by line.
pub struct BackupWriter<W: Write>(GzEncoder<StreamWriter<W>>);

impl<W: Write> std::fmt::Debug for BackupWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BackupWriter")
    }
}

impl<W: Write> BackupWriter<W> {
    /// Begins a backup that only those can read whom `lock` names.
    ///
    /// # Errors
    /// If a recipient is none, or the file can't be written.
    pub fn begin(out: W, lock: &Lock) -> Result<Self, BackupError> {
        let to: Vec<Box<dyn Recipient>> = match lock {
            Lock::Passphrase(text) => {
                let mut to = scrypt::Recipient::new(SecretString::from(text.clone()));
                to.set_work_factor(WORK);
                vec![Box::new(to)]
            }
            Lock::Recipients(all) => all
                .iter()
                .map(|text| recipient(text).map(|to| Box::new(to) as Box<dyn Recipient>))
                .collect::<Result<_, _>>()?,
        };
        let encryptor = Encryptor::with_recipients(to.iter().map(|to| &**to))
            .map_err(|why| BackupError::Key(why.to_string()))?;
        Ok(Self(GzEncoder::new(encryptor.wrap_output(out)?, Compression::fast())))
    }

    /// Adds a line; it holds no line end.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.write_all(line)?;
        self.0.write_all(b"\n")
    }

    /// Ends it. Without this it can't be read: a file that was cut off is never taken for a whole
    /// one.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()?.finish()
    }
}

/// Reads a backup line by line.
pub struct BackupReader<R: Read>(BufReader<GzDecoder<StreamReader<R>>>);

impl<R: Read> std::fmt::Debug for BackupReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BackupReader")
    }
}

impl<R: Read> BackupReader<R> {
    /// Opens a backup.
    ///
    /// # Errors
    /// If it is none, or `unlock` does not open it.
    pub fn open(from: R, unlock: &Unlock) -> Result<Self, BackupError> {
        let decryptor = Decryptor::new(from).map_err(|why| {
            BackupError::Broken(format!("This is no backup of iocast, or not whole ({why})."))
        })?;
        let needs_passphrase = decryptor.is_scrypt();
        let keys: Vec<Box<dyn Identity>> = match unlock {
            Unlock::Passphrase(_) if !needs_passphrase => {
                return Err(BackupError::Key(
                    "This backup is encrypted for a key: give its key file with --key-file."
                        .to_owned(),
                ));
            }
            Unlock::Keys(_) if needs_passphrase => {
                return Err(BackupError::Key(
                    "This backup is encrypted with a passphrase: give it with --passphrase-file."
                        .to_owned(),
                ));
            }
            Unlock::Passphrase(text) => {
                let mut key = scrypt::Identity::new(SecretString::from(text.clone()));
                key.set_max_work_factor(WORK_MAX);
                vec![Box::new(key)]
            }
            Unlock::Keys(text) => {
                let lines = text.lines().map(str::trim);
                let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                keys.map(|line| {
                    line.parse::<x25519::Identity>()
                        .map(|key| Box::new(key) as Box<dyn Identity>)
                        .map_err(|why| {
                            BackupError::Key(format!(
                                "The key file holds a line that is no key of age: {why}."
                            ))
                        })
                })
                .collect::<Result<_, _>>()?
            }
        };
        let plain = decryptor.decrypt(keys.iter().map(|key| &**key)).map_err(|why| {
            let what = if needs_passphrase { "The passphrase" } else { "The key" };
            BackupError::Key(format!("{what} does not open this backup ({why})."))
        })?;
        Ok(Self(BufReader::new(GzDecoder::new(plain))))
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// If the file is not whole.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        let mut line = Vec::new();
        let broken = |why: io::Error| {
            BackupError::Broken(format!(
                "The backup is not whole: {why}. Nothing of it can be used; take another one."
            ))
        };
        (&mut self.0).take(LINE_MAX).read_until(b'\n', &mut line).map_err(broken)?;
        match line.pop() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            Some(_) => Err(broken(io::Error::other("its last line has no end"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(lock: &Lock, lines: &[&str]) -> Vec<u8> {
        let mut out = BackupWriter::begin(Vec::new(), lock).unwrap();
        lines.iter().for_each(|line| out.line(line.as_bytes()).unwrap());
        out.finish().unwrap()
    }

    fn read(file: &[u8], unlock: &Unlock) -> Result<Vec<String>, BackupError> {
        let mut from = BackupReader::open(file, unlock)?;
        let mut lines = Vec::new();
        while let Some(line) = from.line()? {
            lines.push(String::from_utf8(line).unwrap());
        }
        Ok(lines)
    }

    #[test]
    fn a_backup_opens_with_its_key_and_no_other() {
        let ((key, recipient), (other, _)) = (new_key(), new_key());
        let long = "x".repeat(300_000);
        let lines = ["{}", "", long.as_str()];
        let file = written(&Lock::Recipients(vec![recipient]), &lines);
        assert_eq!(read(&file, &Unlock::Keys(key.clone())).unwrap(), lines);
        let refused = read(&file, &Unlock::Keys(other)).unwrap_err().to_string();
        assert!(refused.contains("does not open"), "{refused}");
        let refused = read(&file, &Unlock::Passphrase("p".to_owned())).unwrap_err().to_string();
        assert!(refused.contains("--key-file"), "{refused}");
        for cut in [0, 10, 200, file.len() / 2, file.len() - 1] {
            assert!(read(&file[..cut], &Unlock::Keys(key.clone())).is_err(), "cut at {cut}");
        }
        for at in [file.len() - 1, file.len() / 2, file.len() - 30] {
            let mut bent = file.clone();
            bent[at] ^= 1;
            assert!(read(&bent, &Unlock::Keys(key.clone())).is_err(), "bent at {at}");
        }
    }

    #[test]
    fn a_backup_opens_with_its_passphrase() {
        let file = written(&Lock::Passphrase("correct horse".to_owned()), &["a"]);
        let open = |text: &str| read(&file, &Unlock::Passphrase(text.to_owned()));
        assert_eq!(open("correct horse").unwrap(), ["a"]);
        assert!(open("wrong").unwrap_err().to_string().contains("passphrase does not open"));
        let refused = read(&file, &Unlock::Keys(new_key().0)).unwrap_err().to_string();
        assert!(refused.contains("--passphrase-file"), "{refused}");
        assert!(check_recipients(&["age1nonsense".to_owned()]).is_err());
    }
}
