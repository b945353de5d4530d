//! Secrets: what holds them, where they come from, and what keeps them out of everything that is written.
//!
//! A [`Secret`] cannot be shown, written or compared, and is wiped when it goes. A [`KeySource`] looks one up, by the
//! [`KeyPlace`] that the user's configuration names, at the moment in which a call is made. Whatever it finds it tells
//! the [`Redactor`] of the process, which every sink is behind: traces and blobs ([`Redactor::traces`],
//! [`Redactor::blobs`]), outcomes before they leave this crate ([`Redactor::outcome`]), and what surfaces print.

mod forms;
mod guard;
mod redactor;
mod source;

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

pub use redactor::{Redactor, RedactorStream, SECRET_BYTES_MIN};
pub use source::{KEY_BYTES_MAX, KeyError, KeyPlace, KeySource, Keyring, keys_handed};

/// Text that nobody is to see. It has no `Debug`, `Display` or `Serialize`; a clone is another handle on it.
#[derive(Clone)]
pub struct Secret(Arc<SecretString>);

impl Secret {
    /// Takes text in.
    pub fn new(text: String) -> Self {
        Self(Arc::new(SecretString::from(text)))
    }

    /// The text, for the one call that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests;
