//! Answers side by side in one buffer, as `COPY … TO STDOUT (FORMAT binary)` sends them: nothing is taken apart or copied
//! before somebody asks for it, and the buffer is used again.

use crate::engine::answer::Answer;
use std::ops::Range;

/// What a binary copy begins with: signature, flags, and the length of what else there may be.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const HEADER: usize = SIGNATURE.len() + 8;
/// What stands where a row's number of columns would stand, at the end.
const END: i16 = -1;

/// So many answers are one chunk, unless they weigh more than that: few enough that a core has them all at hand.
const ROWS: usize = 512;
const BYTES: usize = 2 << 20;

/// Where a value begins, and its length; a negative one: NULL.
type Place = (u32, i32);

/// Some answers, one after the other.
#[derive(Debug, Default)]
pub(super) struct Answers {
    bytes: Vec<u8>,
    /// Of each value, row by row.
    places: Vec<Place>,
    columns: usize,
    rows: usize,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    bytes: &'a [u8],
    places: &'a [Place],
}

/// What a message is, without the header of the first one.
pub(super) fn without_header(message: &[u8]) -> Result<&[u8], sqlx::Error> {
    if !message.starts_with(SIGNATURE) || message.len() < HEADER {
        return Err(broken("it does not begin as a binary copy does"));
    }
    Ok(message.get(HEADER..).unwrap_or_default())
}

/// True for what ends a copy, and for nothing at all.
pub(super) fn is_end(message: &[u8]) -> bool {
    message.is_empty() || message == END.to_be_bytes()
}

impl Answers {
    /// Adds a row, which the server sends as one message.
    pub(super) fn add(&mut self, message: &[u8]) -> Result<(), sqlx::Error> {
        let cut = || broken("a row is cut off");
        let start = self.bytes.len();
        let (columns, mut rest) = message.split_first_chunk::<2>().ok_or_else(cut)?;
        self.columns = usize::from(u16::from_be_bytes(*columns));
        for _ in 0..self.columns {
            let (length, value) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            let length = i32::from_be_bytes(*length);
            let at = start + message.len() - value.len();
            self.places.push((u32::try_from(at).map_err(|_| broken("a row is too large"))?, length));
            rest = value.get(usize::try_from(length).unwrap_or(0)..).ok_or_else(cut)?;
        }
        if !rest.is_empty() {
            return Err(broken("something follows a row"));
        }
        self.bytes.extend_from_slice(message);
        self.rows += 1;
        Ok(())
    }

    /// Takes the last row away again.
    pub(super) fn forget_last(&mut self) {
        let Some(last) = self.rows.checked_sub(1) else { return };
        self.places.truncate(last * self.columns);
        let end = self.places.last().map_or(0, |(start, length)| *start as usize + usize::try_from(*length).unwrap_or(0));
        self.bytes.truncate(end);
        self.rows = last;
    }

    /// True where the last two rows are equal in these columns.
    pub(super) fn last_continues(&self, columns: &Range<usize>) -> bool {
        let row = |back| self.rows.checked_sub(back).map(|at| self.row(at));
        let (Some(last), Some(before)) = (row(1), row(2)) else { return false };
        columns.clone().all(|at| last.bytes(at) == before.bytes(at))
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.rows
    }

    /// True where no further source row should be added.
    pub(super) const fn is_full(&self) -> bool {
        self.rows >= ROWS || self.bytes.len() >= BYTES
    }

    /// Nothing, with the room of what was there; `None` where that is more than is usually needed.
    pub(super) fn emptied(mut self) -> Option<Self> {
        self.bytes.clear();
        self.places.clear();
        self.rows = 0;
        (self.bytes.capacity() <= 2 * BYTES).then_some(self)
    }

    /// One of them.
    pub(super) fn row(&self, at: usize) -> Row<'_> {
        let places = self.places.get(at * self.columns..(at + 1) * self.columns).unwrap_or_default();
        Row { bytes: &self.bytes, places }
    }
}

impl<'a> Row<'a> {
    /// The bytes in a column; `None` where it is NULL, or where there is none.
    fn bytes(&self, at: usize) -> Option<&'a [u8]> {
        let (start, length) = *self.places.get(at)?;
        let (start, length) = (start as usize, usize::try_from(length).ok()?);
        self.bytes.get(start..start + length)
    }

    /// True where it is equal to another one in these columns.
    pub(super) fn equals(&self, other: &Self, columns: &Range<usize>) -> bool {
        columns.clone().all(|at| self.bytes(at) == other.bytes(at))
    }

    /// The text in a column, for as long as the buffer is there.
    pub(super) fn borrowed(&self, at: usize) -> Result<Option<&'a str>, sqlx::Error> {
        if at >= self.places.len() {
            return Err(sqlx::Error::ColumnIndexOutOfBounds { index: at, len: self.places.len() });
        }
        self.bytes(at).map(|bytes| str::from_utf8(bytes).map_err(|error| sqlx::Error::Decode(error.into()))).transpose()
    }
}

impl Answer for Row<'_> {
    fn text(&self, at: usize) -> Result<Option<&str>, sqlx::Error> {
        self.borrowed(at)
    }

    fn flag(&self, at: usize) -> Result<Option<bool>, sqlx::Error> {
        match self.bytes(at) {
            None => Ok(None),
            Some([byte @ (0 | 1)]) => Ok(Some(*byte == 1)),
            Some(_) => Err(broken("a truth value is none")),
        }
    }
}

fn broken(what: &str) -> sqlx::Error {
    sqlx::Error::Protocol(format!("COPY … TO STDOUT (FORMAT binary): {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut bytes = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
            bytes.extend(length.to_be_bytes());
            bytes.extend(value.unwrap_or_default());
        }
        bytes
    }

    #[test]
    fn answers_say_what_was_sent_and_keep_a_buffer() {
        let mut answers = Answers::default();
        answers.add(&message(&[Some(b"1"), None, Some("\u{e4}".as_bytes()), Some(&[1])])).unwrap();
        answers.add(&message(&[Some(b"2"), Some(b""), Some(b"\xff"), Some(&[0])])).unwrap();
        answers.add(&message(&[Some(b"2"), None, None, None])).unwrap();
        assert_eq!((answers.len(), answers.last_continues(&(0..1)), answers.last_continues(&(0..2))), (3, true, false));
        let first = answers.row(0);
        assert_eq!((first.text(0).unwrap(), first.text(1).unwrap(), first.text(2).unwrap()), (Some("1"), None, Some("\u{e4}")));
        assert_eq!(
            (first.flag(3).unwrap(), answers.row(1).flag(3).unwrap(), answers.row(2).flag(3).unwrap()),
            (Some(true), Some(false), None)
        );
        assert!(answers.row(1).text(2).is_err() && first.text(4).is_err() && first.flag(0).is_err());
        answers.forget_last();
        answers.forget_last();
        answers.add(&message(&[Some(b"3"), None, None, None])).unwrap();
        assert_eq!((answers.len(), answers.row(1).text(0).unwrap(), answers.last_continues(&(0..1))), (2, Some("3"), false));
        let answers = answers.emptied().unwrap();
        assert!(answers.len() == 0 && answers.bytes.capacity() > 0);
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let whole = message(&[Some(b"abc"), None]);
        for cut in 0..whole.len() {
            assert!(Answers::default().add(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Answers::default().add(&[whole.as_slice(), b"x"].concat()).is_err());
        let header = [SIGNATURE, &[0; 8], whole.as_slice()].concat();
        assert_eq!(without_header(&header).unwrap(), whole);
        assert!(without_header(&whole).is_err() && without_header(&header[..15]).is_err());
        assert!(is_end(&[0xff, 0xff]) && is_end(&[]) && !is_end(&whole));
    }
}
