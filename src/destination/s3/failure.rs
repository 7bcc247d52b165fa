//! What a store's answer means. Stores answer in XML with a code; their prose may quote signatures, and is never shown.

use crate::destination::DestinationError;
use object_store::client::{HttpError, HttpErrorKind};
use std::error::Error;

/// Where the bucket is, as the spec says.
#[derive(Debug)]
pub(super) struct Place {
    pub bucket: String,
    pub region: String,
    pub endpoint: String,
    /// How the store is asked to encrypt what is written, as the header has it.
    pub encrypts: Option<&'static str>,
}

/// What a store answers that does not encrypt so, or not with this key.
const ENCRYPTION: &[&str] = &["NotImplemented", "InvalidArgument", "InvalidRequest"];

impl Place {
    /// The error of a request that was to `action` the file `name`.
    pub fn failure(&self, action: &'static str, name: &str, error: &object_store::Error) -> DestinationError {
        let answer = Answer::of(error);
        let (bucket, endpoint) = (self.bucket.clone(), self.endpoint.clone());
        let unavailable = |detail: String| DestinationError::BucketUnavailable { endpoint: self.endpoint.clone(), action, detail };
        let writes = matches!(action, "write" | "begin an upload" | "upload" | "finish an upload");
        let code = answer.code.as_str();
        if self.encrypts.is_some() && writes && (code.starts_with("KMS") || code.contains("Encryption") || ENCRYPTION.contains(&code)) {
            return DestinationError::BucketEncryptionRefused { endpoint, code: answer.code };
        }
        match answer.code.as_str() {
            "NoSuchBucket" => return DestinationError::BucketMissing { bucket, endpoint },
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "ExpiredToken"
            | "TokenRefreshRequired"
            | "RequestTimeTooSkewed"
            | "AuthorizationHeaderMalformed"
                if answer.region.is_none() =>
            {
                return DestinationError::AccessKeyRefused { endpoint, code: answer.code };
            }
            "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
                return self.elsewhere(answer.region);
            }
            "XMinioStorageFull" | "QuotaExceeded" | "InsufficientStorage" => {
                return DestinationError::BucketFull { endpoint, code: answer.code };
            }
            _ => {}
        }
        match (answer.status, error) {
            (Some(301 | 307 | 308), _) => self.elsewhere(answer.region),
            (Some(507), _) => DestinationError::BucketFull { endpoint, code: "507".into() },
            (Some(404), _) | (_, object_store::Error::NotFound { .. }) => {
                DestinationError::BackupMissing { path: format!("s3://{bucket}/{name}") }
            }
            (Some(401 | 403), _) | (_, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) => {
                DestinationError::BucketForbidden { action, bucket }
            }
            (Some(408 | 429 | 500..=599), _) => unavailable(answer.shown()),
            (Some(_), _) => DestinationError::BucketRefused { endpoint, action, code: answer.shown() },
            (None, _) if answer.redirected => self.elsewhere(None),
            (None, _) => unavailable(answer.shown()),
        }
    }

    fn elsewhere(&self, region: Option<String>) -> DestinationError {
        let there = region.map(|region| format!(", but in {region}")).unwrap_or_default();
        DestinationError::RegionWrong { bucket: self.bucket.clone(), region: self.region.clone(), there }
    }
}

/// What is known of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    status: Option<u16>,
    code: String,
    region: Option<String>,
    redirected: bool,
    connection: &'static str,
}

impl Answer {
    /// The whole chain of causes is read: which of them has the store's answer is `object_store`'s own affair.
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut answer = Self { connection: "no answer", ..Self::default() };
        let mut cause = Some(error);
        while let Some(error) = cause {
            answer.read(&error.to_string());
            if let Some(http) = error.downcast_ref::<HttpError>() {
                answer.connection = connection(http.kind());
            }
            cause = error.source();
        }
        answer
    }

    fn read(&mut self, text: &str) {
        if self.code.is_empty() {
            between(text, "<Code>", "</Code>").filter(|code| is_word(code)).unwrap_or_default().clone_into(&mut self.code);
        }
        if self.region.is_none() {
            self.region = between(text, "<Region>", "</Region>").filter(|region| is_word(region)).map(ToOwned::to_owned);
        }
        if self.status.is_none() {
            // "Server returned non-2xx status code: 403 Forbidden: <?xml …"
            self.status = text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)).and_then(|digits| digits.parse().ok());
        }
        self.redirected |= text.contains("redirect without LOCATION");
    }

    fn shown(&self) -> String {
        match (self.status, self.code.as_str()) {
            (Some(status), "") => format!("status {status}"),
            (Some(status), code) => format!("status {status}, {code}"),
            (None, "") => self.connection.to_owned(),
            (None, code) => code.to_owned(),
        }
    }
}

const fn connection(kind: HttpErrorKind) -> &'static str {
    match kind {
        HttpErrorKind::Connect => "no connection: is the address right, does its name resolve, is its certificate of a known CA",
        HttpErrorKind::Timeout => "it took longer than its time",
        HttpErrorKind::Interrupted | HttpErrorKind::Request => "the connection broke off",
        HttpErrorKind::Decode => "its answer could not be read",
        _ => "no answer",
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    text.split_once(from)?.1.split_once(to).map(|(inner, _)| inner)
}

/// A code or a region, and not something that a store quotes.
/// True of what may be shown of a store's words: they may quote signatures.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(body: &str) -> DestinationError {
        let place = Place { bucket: "b".into(), region: "us-east-1".into(), endpoint: "https://s3.test".into(), encrypts: None };
        let error = object_store::Error::Generic { store: "S3", source: body.to_owned().into() };
        place.failure("write", "a.dump", &error)
    }

    #[test]
    fn what_a_store_answers_is_told_apart() {
        let answered = |status: &str, code: &str| {
            failure(&format!(
                "Server returned non-2xx status code: {status}: <Error><Code>{code}</Code><Message>AKIA9 s3cret</Message></Error>"
            ))
        };
        for (status, code, reason) in [
            ("404 Not Found", "NoSuchBucket", "BucketMissing"),
            ("404 Not Found", "NoSuchKey", "BackupMissing"),
            ("403 Forbidden", "InvalidAccessKeyId", "AccessKeyRefused"),
            ("403 Forbidden", "SignatureDoesNotMatch", "AccessKeyRefused"),
            ("403 Forbidden", "AccessDenied", "BucketForbidden"),
            ("400 Bad Request", "AuthorizationHeaderMalformed", "AccessKeyRefused"),
            ("301 Moved Permanently", "PermanentRedirect", "RegionWrong"),
            ("400 Bad Request", "InvalidRequest", "BucketRefused"),
            ("503 Service Unavailable", "SlowDown", "BucketUnavailable"),
            ("500 Internal Server Error", "InternalError", "BucketUnavailable"),
            ("507 Insufficient Storage", "XMinioStorageFull", "BucketFull"),
        ] {
            let error = answered(status, code);
            assert_eq!(error.reason(), reason, "{status} {code}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        assert_eq!(failure("error sending request").reason(), "BucketUnavailable");
        assert_eq!(failure("Received redirect without LOCATION, this normally").reason(), "RegionWrong");
        let there = failure("status code: 400 Bad Request: <Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region>");
        assert!(there.to_string().contains("but in eu-west-1"), "{there}");
    }

    #[test]
    fn a_store_that_does_not_encrypt_as_it_is_asked_to_is_told_from_one_that_was_not_asked() {
        let reason = |encrypts: bool, action: &'static str, code: &str| {
            let place = Place {
                bucket: "b".into(),
                region: "us-east-1".into(),
                endpoint: "https://s3.test".into(),
                encrypts: encrypts.then_some("AES256"),
            };
            let body = format!("status code: 400 Bad Request: <Error><Code>{code}</Code></Error>");
            place.failure(action, "a.dump", &object_store::Error::Generic { store: "S3", source: body.into() }).reason()
        };
        for code in
            ["KMS.NotFoundException", "KMS.DisabledException", "InvalidEncryptionAlgorithmError", "NotImplemented", "InvalidArgument"]
        {
            assert_eq!(reason(true, "write", code), "BucketEncryptionRefused", "{code}");
            assert_eq!(reason(true, "begin an upload", code), "BucketEncryptionRefused", "{code}");
            assert_ne!(reason(false, "write", code), "BucketEncryptionRefused", "{code}");
        }
        assert_eq!(reason(true, "list", "InvalidArgument"), "BucketRefused");
    }

    #[test]
    fn what_a_store_quotes_is_no_code() {
        let error = failure("status code: 418 x: <Code>AKIA \"s3cret\"</Code>");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
