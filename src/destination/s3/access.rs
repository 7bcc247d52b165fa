//! The access key that a Secret holds, whatever its layout.

use crate::api::spec::S3SecretKeys;
use crate::destination::DestinationError;
use secrecy::SecretString;
use std::path::Path;

/// Pairs that belong together, so that halves of two keys are never taken for one.
const LAYOUTS: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("ACCESS_KEY_ID", "ACCESS_SECRET_KEY"),
    ("accessKeyId", "secretAccessKey"),
    ("accesskey", "secretkey"),
    ("access-key", "secret-key"),
];
const TOKENS: &[&str] = &["AWS_SESSION_TOKEN", "sessionToken"];

/// Where the Secrets of a bucket are mounted.
#[derive(Clone, Copy, Debug)]
pub struct S3Files<'a> {
    /// The folder with the access key, a file a key of the Secret.
    pub secret: &'a Path,
    /// The CA of the store; missing where there is none.
    pub ca: &'a Path,
}

/// An access key.
#[derive(Debug)]
pub(super) struct AccessKey {
    /// Its id. No secret by itself, but nobody's business.
    pub id: SecretString,
    /// Its secret.
    pub secret: SecretString,
    /// A token, where the key is a temporary one.
    pub token: Option<SecretString>,
}

impl AccessKey {
    /// Reads the folder in which a Secret is mounted.
    pub fn from_secret_dir(dir: &Path, keys: Option<&S3SecretKeys>) -> Result<Self, DestinationError> {
        let none = S3SecretKeys::default();
        let keys = keys.unwrap_or(&none);
        let found = LAYOUTS.iter().find(|(id, secret)| dir.join(id).is_file() && dir.join(secret).is_file());
        let usual = found.copied().unwrap_or(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"));
        let named = |key: &Option<String>, usual: &str| read(dir, key.as_deref().unwrap_or(usual));
        let token = match &keys.session_token {
            Some(key) => Some(read(dir, key)?),
            None => TOKENS.iter().find_map(|key| read(dir, key).ok()),
        };
        Ok(Self { id: named(&keys.access_key_id, usual.0)?, secret: named(&keys.secret_access_key, usual.1)?, token })
    }
}

fn read(dir: &Path, key: &str) -> Result<SecretString, DestinationError> {
    let text = std::fs::read_to_string(dir.join(key)).unwrap_or_default();
    // Editors leave a line break behind; no part of an access key has one.
    let text = text.trim();
    if text.is_empty() {
        return Err(DestinationError::AccessKeyMissing { what: format!("key {key}") });
    }
    Ok(SecretString::from(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn secret(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (key, value) in entries {
            std::fs::write(dir.path().join(key), value).unwrap();
        }
        dir
    }

    #[test]
    fn the_usual_layouts_are_recognised_and_named_keys_come_first() {
        for (id, key) in LAYOUTS {
            let dir = secret(&[(id, "id\n"), (key, "s3cret")]);
            let read = AccessKey::from_secret_dir(dir.path(), None).unwrap();
            assert_eq!((read.id.expose_secret(), read.secret.expose_secret()), ("id", "s3cret"), "{id}");
            assert!(read.token.is_none());
        }
        let dir = secret(&[("a", "id"), ("b", "s3cret"), ("sessionToken", "t"), ("AWS_ACCESS_KEY_ID", "x")]);
        let keys = S3SecretKeys { access_key_id: Some("a".into()), secret_access_key: Some("b".into()), session_token: None };
        let read = AccessKey::from_secret_dir(dir.path(), Some(&keys)).unwrap();
        assert_eq!((read.id.expose_secret(), read.token.unwrap().expose_secret()), ("id", "t"));
        assert!(!format!("{:?}", read.secret).contains("s3cret"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = secret(&[("AWS_ACCESS_KEY_ID", "id")]);
        let error = AccessKey::from_secret_dir(dir.path(), None).unwrap_err();
        assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY"), "{error}");
        assert_eq!(error.reason(), "AccessKeyMissing");
    }
}
