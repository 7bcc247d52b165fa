//! Which words occur in a text, in one look at it.
//!
//! At each byte the classes of three bytes say whether any word begins so, by one bit of a table that stays in the first
//! cache. Nothing waits for what came before, as an automaton would for its next state.

/// Classes of bytes; 0 is what stands behind the end, and all that is no ASCII.
const CLASSES: usize = 64;
/// Starts: three classes each.
const STARTS: usize = CLASSES * CLASSES * CLASSES;
/// What marks tokens, beside letters and digits: a class each. The rest of ASCII has one together.
const MARKS: &[u8] = b" \"$%'+,-./:=_`|~";

/// Letters have a class each, without their case, and so have digits.
#[expect(clippy::indexing_slicing, reason = "it would not compile")]
const CLASS: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    while byte.is_ascii() {
        classes[byte as usize] = match byte {
            b'a'..=b'z' => 1 + byte - b'a',
            b'A'..=b'Z' => 1 + byte - b'A',
            b'0'..=b'9' => 27 + byte - b'0',
            _ => 37,
        };
        byte += 1;
    }
    let (mut marks, mut class) = (MARKS, 38);
    while let [mark, rest @ ..] = marks {
        classes[*mark as usize] = class;
        class += 1;
        marks = rest;
    }
    classes
};

fn class(byte: Option<&u8>) -> usize {
    byte.map_or(0, |byte| usize::from(CLASS.get(usize::from(*byte)).copied().unwrap_or_default()))
}

const fn next(start: usize, class: usize) -> usize {
    (start * CLASSES + class) % STARTS
}

/// Words that are searched for at once, whatever the case of their ASCII letters.
#[derive(Debug)]
pub(super) struct Words {
    texts: Vec<String>,
    /// A bit for each start that a word may have.
    starts: Vec<u64>,
    /// How many bits are set before each of them.
    before: Vec<u32>,
    /// For each bit that is set, where its words begin in `lists`.
    begins: Vec<u32>,
    lists: Vec<u32>,
}

impl Words {
    /// Empty words are in every text, and found in none.
    pub(super) fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let texts: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let mut pairs = Vec::new();
        for (word, number) in texts.iter().zip(0_u32..) {
            let known: Vec<usize> = word.bytes().take(3).map(|byte| class(Some(&byte))).collect();
            // Behind a short word there may be anything.
            let open = CLASSES.pow(3 - u32::try_from(known.len()).unwrap_or(3));
            let first = known.iter().fold(0, |start, class| start * CLASSES + class) * open;
            pairs.extend((first..first + open).filter(|_| !known.is_empty()).map(|start| (start, number)));
        }
        pairs.sort_unstable();
        let mut found = Self { texts, starts: vec![0; STARTS / 64], before: Vec::new(), begins: Vec::new(), lists: Vec::new() };
        let mut last = None;
        for ((start, number), place) in pairs.into_iter().zip(0_u32..) {
            if last.replace(start) != Some(start) {
                found.begins.push(place);
                if let Some(bits) = found.starts.get_mut(start / 64) {
                    *bits |= 1 << (start % 64);
                }
            }
            found.lists.push(number);
        }
        found.before = found.starts.iter().scan(0, |sum, bits| Some(std::mem::replace(sum, *sum + bits.count_ones()))).collect();
        found
    }

    /// Tells each word that occurs, by its number, and where it ends; words within words, too.
    pub(super) fn each(&self, text: &str, mut hit: impl FnMut(usize, usize)) {
        let bytes = text.as_bytes();
        let mut start = next(class(bytes.first()), class(bytes.get(1)));
        for (at, byte) in bytes.iter().skip(2).enumerate() {
            start = next(start, class(Some(byte)));
            if self.begins_with(start) {
                self.check(bytes, at, start, &mut hit);
            }
        }
        for at in bytes.len().saturating_sub(2)..bytes.len() {
            start = next(next(class(bytes.get(at)), class(bytes.get(at + 1))), 0);
            if self.begins_with(start) {
                self.check(bytes, at, start, &mut hit);
            }
        }
    }

    fn begins_with(&self, start: usize) -> bool {
        self.starts.get(start / 64).is_some_and(|bits| bits >> (start % 64) & 1 == 1)
    }

    fn check(&self, bytes: &[u8], at: usize, start: usize, hit: &mut impl FnMut(usize, usize)) {
        let below = self.starts.get(start / 64).map_or(0, |bits| (bits & ((1 << (start % 64)) - 1)).count_ones());
        let rank = (self.before.get(start / 64).copied().unwrap_or(0) + below) as usize;
        let place = |rank: usize| self.begins.get(rank).map_or(self.lists.len(), |place| *place as usize);
        for number in self.lists.get(place(rank)..place(rank + 1)).unwrap_or_default() {
            let number = *number as usize;
            let Some(word) = self.texts.get(number) else { continue };
            let end = at + word.len();
            if bytes.get(at..end).is_some_and(|here| here.eq_ignore_ascii_case(word.as_bytes())) {
                hit(number, end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Words;
    use proptest::prelude::*;

    fn plainly(words: &[String], text: &str) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for at in 0..text.len() {
            for (number, word) in words.iter().enumerate() {
                let end = at + word.len();
                if !word.is_empty() && text.as_bytes().get(at..end).is_some_and(|here| here.eq_ignore_ascii_case(word.as_bytes())) {
                    found.push((number, end));
                }
            }
        }
        found.sort_unstable();
        found
    }

    fn at_once(words: &[String], text: &str) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        Words::of(words.iter().map(String::as_str)).each(text, |number, end| found.push((number, end)));
        found.sort_unstable();
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn words_are_found_wherever_they_are(
            words in prop::collection::vec("[aAbB|_\u{e4}9]{0,4}", 0..8), text in "[abAB|_\u{e4}9 ]{0,40}",
        ) {
            prop_assert_eq!(at_once(&words, &text), plainly(&words, &text));
        }
    }

    #[test]
    fn short_texts_and_words_at_their_end_are_found() {
        let words: Vec<String> = ["|", "sk", "key", "\u{1f642}", "the key"].map(str::to_owned).into();
        for text in ["", "|", "s", "SK", "Key", "a|", "||", "\u{1f642}", "ask", "The KEY|sk"] {
            assert_eq!(at_once(&words, text), plainly(&words, text), "{text}");
        }
    }
}
