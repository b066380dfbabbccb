//! The key that both sides must have.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use mp_layout::{Error, ErrorKind, Result};
use sha2::Sha256;

/// Bytes of a digest.
pub(crate) const DIGEST_SIZE: usize = 32;

/// Bytes of the longest key. A key of 32 random bytes is as good as any.
const LONGEST: usize = 4096;

/// A key, prepared for HMAC-SHA256.
#[derive(Clone)]
pub(crate) struct AuthKey(Hmac<Sha256>);

impl AuthKey {
    /// Takes a key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for one that is empty or has more than 4096 bytes.
    pub(crate) fn new(key: &[u8], operation: &'static str, object: &str) -> Result<Self> {
        let refuse = |why: String| {
            Err(Error::new(ErrorKind::InvalidInput, operation, object).with_detail(why))
        };
        if key.is_empty() {
            return refuse("the authkey is empty, so that every process has it".to_owned());
        }
        if key.len() > LONGEST {
            return refuse(format!(
                "the authkey has {} bytes, {LONGEST} are the most; 32 random ones are enough",
                key.len()
            ));
        }
        match Hmac::new_from_slice(key) {
            Ok(keyed) => Ok(Self(keyed)),
            Err(_) => refuse("the authkey is no key for HMAC".to_owned()),
        }
    }

    /// The digest of a message.
    pub(crate) fn digest(&self, message: &[u8]) -> [u8; DIGEST_SIZE] {
        let mut keyed = self.0.clone();
        keyed.update(message);
        keyed.finalize().into_bytes().into()
    }

    /// Whether this is the digest of the message. How long that takes does not depend on how much
    /// of it is right.
    pub(crate) fn verifies(&self, message: &[u8], digest: &[u8]) -> bool {
        let mut keyed = self.0.clone();
        keyed.update(message);
        keyed.verify_slice(digest).is_ok()
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AuthKey")
    }
}
