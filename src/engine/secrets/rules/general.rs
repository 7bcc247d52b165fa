//! Secrets of no maker: keys, passwords, headers, addresses with a password in them.

use crate::engine::secrets::judge::{self, Judge};
use crate::engine::secrets::rule::{Pattern, Rule, rule, token};
use regex::Regex;
use std::sync::LazyLock;

/// Name of the rule for what is called a password.
pub(in crate::engine::secrets) const PASSWORD: &str = "password";

/// Names that a password has, at their end.
macro_rules! password_names {
    () => {
        r"(?:passwd|password|passwort|passphrase|passcode|pwd|secret|api[_-]?key|access[_-]?key|access[_-]?token|auth[_-]?token|refresh[_-]?token|session[_-]?token)"
    };
}

static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(concat!("(?i)", password_names!(), "s?$")).ok());

/// True for an entry of a JSON object whose value is a password by the entry's name.
pub(in crate::engine::secrets) fn names_a_password(key: &str, value: &str) -> bool {
    let named = NAME.as_ref().is_some_and(|name| name.is_match(key));
    named && value.chars().count() >= 4 && judge::accepts(Judge::Chosen, value)
}

/// Assigned with quotes: all within them. Assigned without: up to a blank. After a colon: to the end of the line, or a value
/// that is no mere word, as in prose a colon is followed by one.
const ASSIGNED: &str = concat!(
    "(?im)",
    password_names!(),
    r#"["'\])]{0,2}\s{0,3}(?:(?::=|=>|==?|:)[ \t]*(?:"([^"\r\n]{4,})"|'([^'\r\n]{4,})')|(?::=|=>|==?)[ \t]*([^\s"',;}]{4,})|:[ \t]*(?:([^\s"',;}]{4,})[ \t]*(?:$|[\r\n,;}])|([^\s"',;}]*[0-9!@$%^&*+?~_][^\s"',;}]*)))"#
);

pub(super) const RULES: &[Rule] = &[
    token(
        "private-key",
        &["PRIVATE KEY"],
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----|$)",
        &["-----BEGIN RSA PRIVATE KEY-----\n<b64>\n-----END RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n<b64>"],
        &["-----BEGIN PUBLIC KEY-----\n<b64>\n-----END PUBLIC KEY-----", "the PRIVATE KEY is kept elsewhere"],
    ),
    token(
        "putty-private-key",
        &["PuTTY-User-Key-File"],
        r"PuTTY-User-Key-File-\d: [\s\S]*?Private-Lines: \d+[\s\S]*?(?:Private-MAC: [0-9a-f]+|$)",
        &["PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPublic-Lines: 2\n<b64>\nPrivate-Lines: 1\n<b44>\nPrivate-MAC: <h64>"],
        &["see the PuTTY-User-Key-File-3 format"],
    ),
    rule(
        "connection-string",
        &["://"],
        Pattern::Whole(r#"(?i)\b([a-z][a-z0-9+.-]{1,30}://[^\s:/@"'<>]*:(?P<value>[^\s/@"'<>]+)@[^\s"'<>]+)"#),
        Judge::Chosen,
        &["postgres://app:<a12>@db.internal/prod", "see redis://:<a9>@cache:6379 now", "amqp+ssl://u:<a6>@mq"],
        &["https://example.org:443/a?b=c", "postgres://app@db.internal/prod", "postgres://app:${PASSWORD}@db/prod", "https://docs/a:b"],
    ),
    token(
        "jwt",
        &["eyJ"],
        r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}",
        &["eyJ<w30>.eyJ<w60>.<w43>"],
        &["eyJ<w30>", "eyJ<w30>.<d20>.<w43>"],
    ),
    token(
        "authorization",
        &["authorization"],
        r#"(?i)\bauthorization["']?\s{0,3}[:=]\s{0,3}["']?((?:basic|bearer|token|digest|negotiate|apikey|hawk|aws4-hmac-sha256)\s+[^\r\n"']{6,}|[a-z0-9+/=._~-]{20,})"#,
        &["Authorization: Basic <a24>", "\"authorization\": \"Token <h40>\"", "authorization=<a40>"],
        &["Authorization: required", "the authorization was given", "authorization: see below"],
    ),
    rule(
        "bearer",
        &["bearer"],
        Pattern::Whole(r"(?i)\bbearer\s+([a-z0-9._~+/=-]{16,})"),
        Judge::Random,
        &["{\"h\":\"Bearer <a40>\"}", "bearer <w32>"],
        &["the bearer acknowledgements", "Bearer ${TOKEN}", "bearer token-based-authentication"],
    ),
    token(
        "url-token",
        &["token=", "key=", "secret=", "sig=", "signature="],
        r"(?i)[?&](?:access_token|auth_token|api_?key|apikey|client_secret|x-amz-signature|sig|signature)=([a-z0-9%._~+/-]{20,})",
        &["https://a.example/b?access_token=<a32>", "https://s3.example/x?X-Amz-Signature=<h64>&a=b"],
        &["https://a.example/b?access_token=yes", "?page=<a32>"],
    ),
    rule(
        "curl-user",
        &["curl "],
        Pattern::Whole(r#"\bcurl\s[^\r\n]{0,200}?(?:-u|--user|--proxy-user)[ =]["']?([^\s:"']{1,64}:(?P<value>[^\s"']{3,}))"#),
        Judge::Chosen,
        &["curl -s -u admin:<a12> https://x", "curl --user 'me:<a8>' x"],
        &["curl -s https://x", "curl -u admin:$PASS https://x"],
    ),
    rule(
        "netrc",
        &["machine "],
        Pattern::Whole(r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+(\S{4,})"),
        Judge::Chosen,
        &["machine api.example login me password <a12>"],
        &["the machine has a password", "machine a login b password ${X1}"],
    ),
    rule(
        "pgpass",
        &[":5432:", ":5433:", ":6432:"],
        Pattern::Whole(r"(?m)^[^\s:#]+:\d{4,5}:[^\s:]+:[^\s:]+:(\S{4,})$"),
        Judge::Chosen,
        &["db.internal:5432:prod:app:<a12>"],
        &["host:5432:ready", "10.0.0.1:5432: connection refused"],
    ),
    token(
        "htpasswd",
        &["$apr1$", "$2y$", "$2a$", "$2b$", "$6$", "$5$", "$argon2"],
        r"(?:\$apr1\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}|\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}|\$[56]\$(?:rounds=\d+\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43,86}|\$argon2(?:id|i|d)\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+)",
        &["root:$6$<a8>$<a86>", "$2y$12$<a53>", "me:$apr1$<a8>$<a22>"],
        &["it costs $2b$ or so", "$6$<a8>$<a20>"],
    ),
    rule(
        "generic-key",
        &["key", "token", "secret", "credential"],
        Pattern::Assigned(
            r#"(?i)\b[\w.-]{0,30}(?:access|auth|api|app|client|private|secret|sign(?:ing)?|encrypt(?:ion)?|master|service|deploy|webhook|jwt|hmac|bot|user)[_. -]?(?:keys?|tokens?|secrets?|credentials?)["'`\])]{0,2}\s{0,3}(?:=>|:=|==?|:)\s{0,3}["'`]?([a-z0-9_.=+/~-]{16,})"#,
        ),
        Judge::Random,
        &["SIGNING_KEY=<a40>", "\"deployToken\": \"<a32>\"", "webhook-secret: <h32>"],
        &["signing key: the-key-of-the-signature", "api key = ${API_KEY_OF_SERVICE}", "user_token=short1"],
    ),
    rule(
        PASSWORD,
        &[
            "passwd",
            "password",
            "passwort",
            "passphrase",
            "passcode",
            "pwd",
            "secret",
            "api_key",
            "api-key",
            "apikey",
            "access_key",
            "access-key",
            "accesskey",
            "access_token",
            "access-token",
            "accesstoken",
            "auth_token",
            "auth-token",
            "authtoken",
            "refresh_token",
            "refresh-token",
            "refreshtoken",
            "session_token",
            "session-token",
            "sessiontoken",
        ],
        Pattern::Assigned(ASSIGNED),
        Judge::Chosen,
        &[
            "DB_PASSWORD=<a7>",
            "{\"password\": \"<a7>!\"}",
            "password: <l8>1\n",
            "pwd := '<a6> <a6>'",
            "Password=<a9>;Server=x",
            "secret: <d8>",
        ],
        &[
            "Write a haiku about the password policy",
            "Password: please choose one of your own",
            "password=${DB_PASSWORD}",
            "password: null",
            "the secret: be kind, always",
            "password = ********",
            "pwd: [redacted: password]",
        ],
    ),
];
