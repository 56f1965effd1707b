//! The pepper and the signing key: made once, kept in one file outside the database.

use std::{fmt, sync::OnceLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use iocast_domain::time::Entropy;
use serde::{Deserialize, Serialize};

use crate::{AppError, AppResult, Context};

/// Secrets of the installation, the same on every replica.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secrets {
    /// Under it, machine keys are hashed; 64 hexadecimal digits.
    pepper: String,
    /// With it, session tokens are signed; 64 hexadecimal digits.
    signing_key: String,
    /// The pepper as bytes.
    #[serde(skip)]
    pepper_bytes: OnceLock<[u8; 32]>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Secrets {
    /// Fresh ones.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self {
            pepper: random_hex(entropy, 32),
            signing_key: random_hex(entropy, 32),
            pepper_bytes: OnceLock::new(),
        }
    }

    /// Whether they are what [`Secrets::generate`] makes, and not an empty or cut file.
    #[must_use]
    pub fn sound(&self) -> bool {
        let key = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        key(&self.pepper) && key(&self.signing_key)
    }

    /// The keyed hash under which a machine key is kept.
    pub fn hash(&self, secret: &str) -> [u8; 32] {
        let key = self.pepper_bytes.get_or_init(|| {
            let mut key = [0; 32];
            // A pepper that is not what we wrote still gives a hash, only never a match:
            // `check_secrets` says so at start.
            let _ = hex::decode_to_slice(&self.pepper, &mut key);
            key
        });
        *blake3::keyed_hash(key, secret.as_bytes()).as_bytes()
    }

    /// The secret that signs what goes to a webhook: it follows from the pepper, so that it is
    /// stored nowhere.
    pub fn webhook_key(&self, account: &str, url: &str) -> [u8; 32] {
        self.hash(&format!("webhook {account} {url}"))
    }

    /// What the forms of a session carry: another site can't know it.
    pub fn form_token(&self, session: &str) -> String {
        hex::encode(self.hash(&format!("form {session}")))
    }

    /// Encrypts a secret that others gave us, for one purpose: it opens for no other.
    ///
    /// # Errors
    /// If the machine can't encrypt.
    pub fn seal(&self, entropy: &dyn Entropy, purpose: &str, plain: &str) -> AppResult<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut sealed = plain.as_bytes().to_vec();
        self.sealing_key(purpose)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.as_bytes()),
                &mut sealed,
            )
            .map_err(AppError::internal)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what [`Self::seal`] gave; nothing if it was sealed under other secrets.
    #[must_use]
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Option<String> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let key = self.sealing_key(purpose).ok()?;
        let open = key.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut plain).ok()?;
        String::from_utf8(open.to_vec()).ok()
    }

    fn sealing_key(&self, purpose: &str) -> AppResult<LessSafeKey> {
        let key = self.hash(&format!("seal {purpose}"));
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(AppError::internal)?;
        Ok(LessSafeKey::new(key))
    }

    /// What session tokens are signed with.
    #[must_use]
    pub fn signing_key(&self) -> &[u8] {
        self.signing_key.as_bytes()
    }

    /// Whether a database was made with these secrets; true for one that was never used.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn belong_to(&self, store: &iocast_store::Store) -> AppResult<bool> {
        let theirs = store.read().setting_fetch(FINGERPRINT).await?;
        Ok(theirs.is_none_or(|theirs| theirs == self.fingerprint()))
    }

    /// A short name of the installation that follows from its secrets and tells nothing of them.
    #[must_use]
    pub fn installation(&self) -> String {
        self.fingerprint().chars().take(8).collect()
    }

    fn fingerprint(&self) -> String {
        hex::encode(self.hash(&format!("fingerprint of {}", self.signing_key)))
    }
}

/// Whether a database was ever used: it knows the secrets that it was made with.
///
/// # Errors
/// If it does not answer.
pub async fn database_is_used(store: &iocast_store::Store) -> AppResult<bool> {
    Ok(store.read().setting_fetch(FINGERPRINT).await?.is_some())
}

/// `bytes` random bytes in hexadecimal.
pub fn random_hex(entropy: &dyn Entropy, bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    entropy.fill(&mut buffer);
    hex::encode(buffer)
}

const FINGERPRINT: &str = "secrets_fingerprint";

impl Context {
    /// Refuses to run with other secrets than the database was made with: no key would open
    /// anything.
    pub async fn check_secrets(&self) -> AppResult<()> {
        let ours = self.secrets.fingerprint();
        let txn = self.store.write().await?;
        // Of two replicas that start at once on an empty database, one writes it.
        txn.setting_insert(FINGERPRINT, &ours).await?;
        match txn.setting_fetch(FINGERPRINT).await? {
            Some(theirs) if theirs != ours => Err(AppError::OtherSecrets),
            _ => Ok(txn.commit().await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use iocast_domain::time::Entropy;

    use super::*;

    struct Counting;

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.iter_mut().zip(1..).for_each(|(byte, n)| *byte = n);
        }
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_only() {
        let ours = Secrets::generate(&Counting);
        let sealed = ours.seal(&Counting, "subscription 1", "a key").unwrap();
        assert!(!sealed.windows(5).any(|part| part == b"a key"));
        assert_eq!(ours.open("subscription 1", &sealed).as_deref(), Some("a key"));
        assert_eq!(ours.open("subscription 2", &sealed), None);
        assert_eq!(ours.open("subscription 1", &sealed[..sealed.len() - 1]), None);
        assert_eq!(ours.open("subscription 1", b"short"), None);
    }
}
