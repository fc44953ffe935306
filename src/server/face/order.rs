//! The order of the entries on a page, as the links in its head ask for it: `?sort=size`, `?sort=-size`.

use std::cmp::Ordering;

use crate::wire::Entry;

/// What entries are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Size,
    Time,
}

/// See the module. The default is that of listings, which takes no sorting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) column: Column,
    pub(super) is_descending: bool,
}

impl Column {
    pub(super) const ALL: [Self; 3] = [Self::Name, Self::Size, Self::Time];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Size => "size",
            Self::Time => "time",
        }
    }
}

impl Order {
    pub(super) const BY_NAME: Self = Self { column: Column::Name, is_descending: false };

    /// What is no order is that by name.
    pub(super) fn parse(text: &str) -> Self {
        let word = text.strip_prefix('-').unwrap_or(text);
        let column = Column::ALL.into_iter().find(|column| column.word() == word);
        column.map_or(Self::BY_NAME, |column| Self { column, is_descending: text.starts_with('-') })
    }

    /// The query of the link in the head of a column: the other way round where it is sorted by that already. The
    /// largest and the newest come first, as they are what people look for.
    pub(super) fn link(self, column: Column) -> String {
        let is_descending = match column == self.column {
            true => !self.is_descending,
            false => column != Column::Name,
        };
        format!("?sort={}{}", if is_descending { "-" } else { "" }, column.word())
    }

    pub(super) fn sort(self, entries: &mut [Entry]) {
        // Stable, so that equals stay in the order of names.
        match self.column {
            Column::Name => entries.sort_by(|a, b| self.turned(a.name.cmp(&b.name))),
            Column::Size => entries.sort_by(|a, b| self.turned(a.size.cmp(&b.size))),
            Column::Time => entries.sort_by(|a, b| self.turned(a.mtime.cmp(&b.mtime))),
        }
    }

    fn turned(self, ordering: Ordering) -> Ordering {
        if self.is_descending { ordering.reverse() } else { ordering }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(order: &str) -> String {
        let entry = |name: &str, size, mtime| Entry {
            name: name.to_owned(),
            size,
            mtime: Some(mtime),
            ..Entry::default()
        };
        let mut all = [entry("a", 5, 30), entry("b", 9, 10), entry("c", 5, 20)];
        Order::parse(order).sort(&mut all);
        all.map(|entry| entry.name).concat()
    }

    #[test]
    fn by_each_column_both_ways() {
        for (order, sorted) in [
            ("name", "abc"),
            ("-name", "cba"),
            ("size", "acb"),
            ("-size", "bac"),
            ("time", "bca"),
            ("-time", "acb"),
            ("", "abc"),
            ("<script>", "abc"),
        ] {
            assert_eq!(names(order), sorted, "{order}");
        }
    }

    #[test]
    fn links_turn_round() {
        let order = Order::parse("-size");
        assert_eq!(Column::ALL.map(|column| order.link(column)), ["?sort=name", "?sort=size", "?sort=-time"]);
        assert_eq!(Order::BY_NAME.link(Column::Name), "?sort=-name");
    }
}
