//! Lines of a log as the kubelet sends them, with a bound on their length.

use futures::io::{AsyncBufRead, AsyncBufReadExt as _};
use jiff::Timestamp;

/// The rest of a longer line is not looked at.
const LINE_MAX: usize = 64 * 1024;

/// Reads the next line; `None` at the end.
pub(super) async fn next(stream: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut any = false;
    loop {
        let chunk = stream.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(any.then_some(line));
        }
        any = true;
        let end = chunk.iter().position(|b| *b == b'\n');
        let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        let room = LINE_MAX.saturating_sub(line.len());
        line.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
        let used = end.map_or(chunk.len(), |at| at + 1);
        stream.consume_unpin(used);
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

/// Takes the time from the front of a line; `None` for the kubelet's own remarks, which have none.
pub(super) fn timed(line: &[u8]) -> Option<(Timestamp, std::borrow::Cow<'_, str>)> {
    let at = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
    let (time, text) = line.split_at_checked(at)?;
    let time = std::str::from_utf8(time).ok()?.parse().ok()?;
    Some((time, String::from_utf8_lossy(text.strip_prefix(b" ").unwrap_or(text))))
}

/// How far a log was read: a new connection begins at the same second and repeats what is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    last: Option<Timestamp>,
    /// Lines of that very moment that were read.
    at_last: u64,
    /// Of those, how many this connection has repeated.
    repeated: u64,
}

impl Position {
    /// Where the next connection begins.
    pub(super) fn resume(&mut self) -> Option<Timestamp> {
        self.repeated = 0;
        self.last
    }

    /// True where the line is new.
    pub(super) fn is_new(&mut self, at: Timestamp) -> bool {
        match self.last {
            Some(last) if at < last => false,
            Some(last) if at == last => {
                self.repeated += 1;
                let new = self.repeated > self.at_last;
                self.at_last = self.at_last.max(self.repeated);
                new
            }
            _ => {
                (self.last, self.at_last, self.repeated) = (Some(at), 1, 1);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let text = format!("{}\nshort\nlast", "x".repeat(LINE_MAX * 2));
        let mut stream = futures::io::BufReader::with_capacity(100, text.as_bytes());
        assert_eq!(next(&mut stream).await.unwrap().unwrap().len(), LINE_MAX);
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), b"short");
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), b"last");
        assert_eq!(next(&mut stream).await.unwrap(), None);
    }

    #[test]
    fn a_line_has_its_time_in_front() {
        let (at, text) = timed(b"2026-11-23T08:00:00.123456789Z some text").unwrap();
        assert_eq!((at.as_second(), text.as_ref()), (1_795_420_800, "some text"));
        assert!(timed(b"unable to retrieve container logs").is_none());
    }

    #[test]
    fn what_a_new_connection_repeats_is_not_counted_again() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut position = Position::default();
        let first: Vec<bool> = [1, 2, 2].map(at).into_iter().map(|t| position.is_new(t)).collect();
        assert_eq!(first, [true, true, true]);
        assert_eq!(position.resume(), Some(at(2)));
        let second: Vec<bool> = [1, 2, 2, 2, 3].map(at).into_iter().map(|t| position.is_new(t)).collect();
        assert_eq!(second, [false, false, false, true, true]);
    }
}
