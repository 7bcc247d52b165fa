//! What has the shape of a secret and is none: placeholders, words, one character over and over.

/// How a value is judged that an expression has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judge {
    /// The expression alone decides.
    Anything,
    /// A token with marks of its own: not a placeholder.
    Token,
    /// Without marks of its own: it must look as if nobody had made it up.
    Random,
    /// A password: whatever a person may have chosen, but no placeholder.
    Chosen,
}

/// Bits a character below which a marked token is a placeholder: `ghp_xxxx…` has 0.9, a real one more than 4.
const TOKEN_BITS: f64 = 2.0;
/// The same for values without marks: 32 random hexadecimal digits have 3.6 on average, and 99 in 100 have more than 3.1.
const RANDOM_BITS: f64 = 3.0;
/// What stands where a password would stand. In lower case.
const PLACEHOLDERS: &[&str] = &[
    "true",
    "false",
    "null",
    "none",
    "nil",
    "undefined",
    "required",
    "optional",
    "string",
    "text",
    "empty",
    "unset",
    "hidden",
    "masked",
    "redacted",
    "[redacted",
    "changed",
    "reset",
    "unknown",
    "n/a",
    "todo",
];

pub(super) fn accepts(judge: Judge, value: &str) -> bool {
    match judge {
        Judge::Anything => true,
        Judge::Token => entropy(value) >= TOKEN_BITS && !value.ends_with("EXAMPLE"),
        Judge::Random => entropy(value) >= RANDOM_BITS && !is_wordlike(value) && !value.ends_with("EXAMPLE"),
        Judge::Chosen => !is_placeholder(value),
    }
}

/// Shannon's, in bits a byte.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let total = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / total).map(|share| -share * share.log2()).sum()
}

/// Words, perhaps joined: no digit, and no capital but at the start of a word or throughout.
fn is_wordlike(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).all(|word| {
        let rest = word.get(1..).unwrap_or_default();
        let digits = word.bytes().any(|b| b.is_ascii_digit());
        !digits && (!rest.bytes().any(|b| b.is_ascii_uppercase()) || !word.bytes().any(|b| b.is_ascii_lowercase()))
    })
}

/// A variable, a template, asterisks, `null`.
fn is_placeholder(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let first = text.chars().next();
    let same = text.chars().all(|c| Some(c) == first);
    let templated = ["${", "$(", "{{", "<", "%{", "#{", "$["].iter().any(|start| text.starts_with(start))
        || (text.starts_with('$') && text.bytes().skip(1).all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        || (text.len() > 2 && text.starts_with('%') && text.ends_with('%'));
    let called = ["process.env", "os.environ", "os.getenv", "getenv(", "env.", "env["].iter().any(|start| lower.starts_with(start));
    same || templated || called || PLACEHOLDERS.contains(&lower.trim_end_matches(['.', ',', '!', '?', ')']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_and_words_are_no_secrets() {
        for value in ["${DB_PASSWORD}", "{{ .Values.password }}", "$PASSWORD", "%PASSWORD%", "********", "null", "<password>", "Required."]
        {
            assert!(!accepts(Judge::Chosen, value), "{value}");
        }
        for value in ["hunter2", "letmein", "$ecret!", "Tr0ub4dor&3", "pa$$word"] {
            assert!(accepts(Judge::Chosen, value), "{value}");
        }
        for value in ["responsibilities-of-the-bearer", "ACKNOWLEDGEMENTS", "Configuration_Management", "00000000000000000000"] {
            assert!(!accepts(Judge::Random, value), "{value}");
        }
        assert!(accepts(Judge::Random, "q7Zp1xT0vW9kLm3n") && accepts(Judge::Random, "aGVsbG9Xb3JsZFdob0tub3dz"));
        assert!(!accepts(Judge::Token, "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"));
    }
}
