//! Many names in one piece of memory: of a directory of millions more can be kept so than one by one.

use std::cmp::Ordering;

/// Names, percent-encoded, each with whether it may be a directory's.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: String,
    spans: Vec<Span>,
}

/// Where a name is in the text.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    length: u16,
    may_be_dir: bool,
}

impl Span {
    fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.start as usize + usize::from(self.length)]
    }
}

impl Names {
    /// Adds a name; not one that has no room: of more than 64 KiB, or beyond 4 GiB in all.
    pub(super) fn push(&mut self, name: &str, may_be_dir: bool) {
        let (Ok(start), Ok(length)) = (u32::try_from(self.text.len()), u16::try_from(name.len())) else {
            return;
        };
        self.text.push_str(name);
        self.spans.push(Span { start, length, may_be_dir });
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes of memory.
    pub(super) fn weight(&self) -> usize {
        self.text.len() + self.spans.len() * size_of::<Span>()
    }

    /// A name by its place in the order in which they are.
    pub(super) fn get(&self, at: usize) -> Option<(&str, bool)> {
        self.spans.get(at).map(|span| (span.of(&self.text), span.may_be_dir))
    }

    pub(super) fn last(&self) -> Option<&str> {
        self.spans.last().map(|span| span.of(&self.text))
    }

    /// Where a name is, or would be. Of sorted ones.
    pub(super) fn search(&self, name: &str) -> Result<usize, usize> {
        self.spans.binary_search_by(|span| span.of(&self.text).cmp(name))
    }

    /// Keeps the first `most` of them, in no order.
    pub(super) fn keep_first(&mut self, most: usize) {
        if most == 0 || most >= self.spans.len() {
            return self.spans.truncate(most);
        }
        let text = &self.text;
        self.spans.select_nth_unstable_by(most - 1, |a, b| by_text(text, a, b));
        self.spans.truncate(most);
        self.compact();
    }

    /// The last of all, whatever the order.
    pub(super) fn greatest(&self) -> Option<&str> {
        self.spans.iter().map(|span| span.of(&self.text)).max()
    }

    pub(super) fn sort(&mut self) {
        let text = &self.text;
        self.spans.sort_unstable_by(|a, b| by_text(text, a, b));
        // Neighbours in order are to be neighbours in memory.
        self.compact();
    }

    /// Writes the text anew, with nothing between the names, in their order.
    fn compact(&mut self) {
        let mut text = String::with_capacity(self.spans.iter().map(|span| usize::from(span.length)).sum());
        for span in &mut self.spans {
            let name = span.of(&self.text);
            // It was there before, with no less in front of it in all.
            span.start = u32::try_from(text.len()).unwrap_or(u32::MAX);
            text.push_str(name);
        }
        self.text = text;
        self.spans.shrink_to_fit();
    }
}

fn by_text(text: &str, a: &Span, b: &Span) -> Ordering {
    a.of(text).cmp(b.of(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_are_kept_whatever_the_order() {
        let mut names = Names::default();
        for n in 0..50u32 {
            names.push(&format!("{:02}", n * 37 % 50), n % 2 == 0);
        }
        let before = names.weight();
        names.keep_first(20);
        assert_eq!((names.len(), names.greatest()), (20, Some("19")));
        assert_eq!(names.weight(), before * 20 / 50);
        names.sort();
        for n in 0..20 {
            let (name, may_be_dir) = names.get(n).unwrap();
            // 37 times 23 is 1 more than a multiple of 50.
            assert_eq!((name, may_be_dir), (format!("{n:02}").as_str(), n * 23 % 50 % 2 == 0));
        }
        assert_eq!((names.last(), names.get(20)), (Some("19"), None));
        assert_eq!((names.search("07"), names.search("07x"), names.search("99")), (Ok(7), Err(8), Err(20)));
    }
}
