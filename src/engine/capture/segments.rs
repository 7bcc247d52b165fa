//! In which pieces recorded rows are put back.
//!
//! Undo takes the newest piece first, and within a piece rows in no order that matters: so no row twice, and of a table only
//! rows to which the same was done. Between tables of one piece there are foreign keys alone, and the numbers of the writes see
//! to those (`pack`).

use std::collections::{BTreeMap, BTreeSet};

/// What was done to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    Insert,
    Update,
    Delete,
}

/// A recorded change, without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    /// Its number: the order in which it was done.
    pub(super) n: i64,
    /// The table's number in the run.
    pub(super) table: i32,
    pub(super) change: Change,
    /// The row's key before and after it, as text; one where they are the same.
    pub(super) keys: Vec<String>,
    /// For each column of the table `1` where it changed, `2` where it changed to a time of the moment, `0` where it did not.
    pub(super) columns: String,
}

/// Rows of one table to which the same was done, to the same columns: one statement of undo.
pub(super) type Parts = BTreeMap<(i32, Change, String), Vec<usize>>;

/// Cuts changes, given in their order, into pieces; rows are named by their places in what was given, newest first.
pub(super) fn segments(changes: &[Recorded]) -> Vec<Parts> {
    let mut all = Vec::new();
    let mut piece = Parts::new();
    let mut seen: BTreeSet<(i32, &str)> = BTreeSet::new();
    let mut doing: BTreeMap<i32, Change> = BTreeMap::new();
    for (place, recorded) in changes.iter().enumerate() {
        let again = recorded.keys.iter().any(|key| seen.contains(&(recorded.table, key.as_str())));
        let otherwise = doing.get(&recorded.table).is_some_and(|change| *change != recorded.change);
        if again || otherwise {
            all.push(std::mem::take(&mut piece));
            seen.clear();
            doing.clear();
        }
        seen.extend(recorded.keys.iter().map(|key| (recorded.table, key.as_str())));
        doing.insert(recorded.table, recorded.change);
        let columns = if recorded.change == Change::Update { recorded.columns.clone() } else { String::new() };
        piece.entry((recorded.table, recorded.change, columns)).or_default().push(place);
    }
    if !piece.is_empty() {
        all.push(piece);
    }
    for places in all.iter_mut().flat_map(BTreeMap::values_mut) {
        places.reverse();
    }
    all
}

/// Tables in an order in which each comes after those that it refers to; a circle is cut anywhere.
pub(super) fn parents_first(tables: &[i32], refers: &[(i32, i32)]) -> Vec<i32> {
    let mut order = Vec::with_capacity(tables.len());
    let mut left: Vec<i32> = tables.to_vec();
    while !left.is_empty() {
        let waits = |table: &i32| refers.iter().any(|(child, parent)| child == table && parent != table && left.contains(parent));
        let next = left.iter().position(|table| !waits(table)).unwrap_or(0);
        order.push(left.remove(next));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(table: i32, change: Change, key: &str) -> Recorded {
        Recorded { n: 0, table, change, keys: vec![key.into()], columns: "01".into() }
    }

    #[test]
    fn one_statement_over_many_rows_is_one_piece_and_newest_comes_first() {
        let changes: Vec<Recorded> = (0..5).map(|n| change(0, Change::Update, &n.to_string())).collect();
        let pieces = segments(&changes);
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0][&(0, Change::Update, "01".into())], [4, 3, 2, 1, 0]);
    }

    #[test]
    fn parents_and_children_that_are_inserted_in_turn_are_one_piece() {
        let changes = [
            change(0, Change::Insert, "1"),
            change(1, Change::Insert, "1"),
            change(0, Change::Insert, "2"),
            change(1, Change::Insert, "2"),
        ];
        let pieces = segments(&changes);
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].len(), 2, "a part a table");
    }

    #[test]
    fn a_row_that_is_written_again_and_another_deed_begin_a_new_piece() {
        let twice = [change(0, Change::Update, "1"), change(0, Change::Update, "1")];
        assert_eq!(segments(&twice).len(), 2);
        let swapped = [change(0, Change::Delete, "1"), change(0, Change::Insert, "2"), change(0, Change::Insert, "3")];
        assert_eq!(segments(&swapped).len(), 2);
        let mut moved = change(0, Change::Update, "1");
        moved.keys.push("2".into());
        assert_eq!(segments(&[moved, change(0, Change::Update, "2")]).len(), 2, "a key that was another row's before");
    }

    #[test]
    fn tables_come_after_those_that_they_refer_to() {
        assert_eq!(parents_first(&[0, 1, 2], &[(0, 1), (1, 2), (2, 2)]), [2, 1, 0]);
        let circle = parents_first(&[0, 1, 2], &[(0, 1), (1, 0), (2, 0)]);
        assert_eq!(circle.len(), 3);
        assert_eq!(circle[2], 2);
    }
}
